// A description as JSON (RFC 8259), without spaces.
#include <locale>
#include <sstream>

#include "plan/fields.h"

namespace mbinfer {
namespace {

class JsonWriter {
 public:
  // The decimal point stays a point, whatever the host's locale says.
  JsonWriter() {
    out_.imbue(std::locale::classic());
    out_.precision(17);
  }

  std::string text() const { return out_.str(); }

  void write(bool flag) { out_ << (flag ? "true" : "false"); }
  void write(int number) { out_ << number; }
  void write(int64_t number) { out_ << number; }
  void write(double number) { out_ << number; }
  void write(const Shape& s) { write(std::vector<int>{s.height, s.width, s.channels}); }

  void write(const char* words) {
    out_ << '"';
    for (; *words; words++) {
      const auto c = static_cast<unsigned char>(*words);
      if (c == '"' || c == '\\')
        out_ << '\\' << *words;
      else if (c < 0x20 || c == 0x7f)
        out_ << "\\u00" << "0123456789abcdef"[c >> 4] << "0123456789abcdef"[c & 15];
      else
        out_ << *words;
    }
    out_ << '"';
  }

  template <class T>
  void write(const std::vector<T>& list) {
    const char* before = "[";
    for (const T& item : list) {
      out_ << before;
      write(item);
      before = ",";
    }
    out_ << (list.empty() ? "[]" : "]");
  }

  template <class Info>
  void write(const Info& info) {
    out_ << '{';
    members(info);
    out_ << '}';
  }

  // The members of an object, without its braces.
  template <class Info>
  void members(const Info& info) {
    const char* before = "";
    for_each_field(info, [&](const char* name, const auto& value) {
      out_ << before;
      member(name, value);
      before = ",";
    });
  }

  template <class T>
  void member(const char* name, const T& value) {
    write(name);
    out_ << ':';
    write(value);
  }

  void mark(char c) { out_ << c; }

 private:
  std::ostringstream out_;
};

}  // namespace

std::string plan_json(const Planned& planned) {
  JsonWriter json;
  json.mark('{');
  json.members(describe_plan(planned));
  json.mark(',');
  json.member("segments", describe_segments(planned.graph, planned.plan));
  json.mark(',');
  json.member("timeline", describe_timeline(planned.graph, planned.plan));
  json.mark('}');
  return json.text();
}

}  // namespace mbinfer
