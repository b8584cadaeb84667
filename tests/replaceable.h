// MBINFER_REPLACEABLE, where a test may have functions of the C library's names (malloc, pthread_join): the library is
// glibc, and no sanitizer has its own. MBINFER_THREAD_SANITIZER, where that one looks on.
#pragma once

#include <cstdlib>

#if defined(__SANITIZE_THREAD__)
#define MBINFER_THREAD_SANITIZER
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MBINFER_THREAD_SANITIZER
#endif
#endif
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define MBINFER_SANITIZED
#endif
#endif
#if defined(__GLIBC__) && !defined(__UCLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && \
    !defined(MBINFER_SANITIZED)
#define MBINFER_REPLACEABLE
#endif
