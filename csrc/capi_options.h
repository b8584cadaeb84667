// The options of a session as mbinfer.h has them, in every layout that a release had.
#pragma once

#include "exec/session.h"
#include "mbinfer.h"

namespace mbinfer {

mbi_options default_options();
void require_size(size_t size);                         // refuses what is no layout
mbi_options known_options(const mbi_options* options);  // as this library has them; null: the defaults
SessionOptions session_options(const mbi_options& given);

}  // namespace mbinfer
