// What a C caller reads when something failed: one short line, whatever the names in a file are.
#pragma once

#include <cstddef>

namespace mbinfer {

constexpr size_t kLongestMessage = 400, kLongestWord = 120;  // bytes

// Copies what `room` bytes hold, never half of a UTF-8 character.
void copy_text(char* to, size_t room, const char* from);
// Copies a message without control characters; of long words, and then of a long message, the middle is left out.
void copy_message(char (&to)[kLongestMessage + 1], const char* from);

}  // namespace mbinfer
