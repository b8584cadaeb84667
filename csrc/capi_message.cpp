#include "capi_message.h"

#include <cstdio>
#include <cstring>

namespace mbinfer {
namespace {

constexpr size_t kEnds = 800;  // bytes of a message that are looked at, from its beginning and before its end

bool continues(char c) { return (c & 0xC0) == 0x80; }  // a UTF-8 character

// Leaves `most` bytes of a text or fewer: the first `head`, `gap`, and its end. Returns how many.
size_t shorten(char* text, size_t size, size_t most, size_t head, const char* gap) {
  if (size <= most) return size;
  const size_t gap_size = std::strlen(gap);
  size_t from = size - (most - head - gap_size);
  while (from < size && continues(text[from])) from++;
  while (head > 0 && continues(text[head])) head--;
  std::memcpy(text + head, gap, gap_size);
  std::memmove(text + head + gap_size, text + from, size - from);
  return head + gap_size + size - from;
}

}  // namespace

void copy_text(char* to, size_t room, const char* from) {
  size_t n = std::strlen(from);
  if (n >= room)
    for (n = room - 1; n > 0 && continues(from[n]);) n--;
  std::memcpy(to, from, n);
  to[n] = 0;
}

// Fixed buffers, so that telling of a failure cannot fail.
void copy_message(char (&to)[kLongestMessage + 1], const char* from) {
  char line[2 * kEnds * 4 + 8];  // a control character takes four
  const size_t length = std::strlen(from);
  size_t size = 0, word = 0;
  auto end_word = [&] { size = word + shorten(line + word, size - word, kLongestWord, kLongestWord / 2, "..."); };
  for (size_t i = 0; i < length; i++) {
    if (i == kEnds && length > 2 * kEnds) {
      while (size > word && continues(line[size - 1])) size--;  // half of a character, perhaps: it goes as a whole
      if (size > word && (line[size - 1] & 0x80)) size--;
      for (i = length - kEnds; continues(from[i]);) i++;
    }
    const auto c = static_cast<unsigned char>(from[i]);
    if (c == ' ') end_word();
    if (c < ' ' || c == 0x7F)
      size += size_t(std::snprintf(line + size, 5, "\\x%02x", c));
    else
      line[size++] = from[i];
    if (c == ' ') word = size;
  }
  end_word();
  size = shorten(line, size, kLongestMessage, kLongestMessage * 5 / 8, " ... ");
  std::memcpy(to, line, size);
  to[size] = 0;
}

}  // namespace mbinfer
