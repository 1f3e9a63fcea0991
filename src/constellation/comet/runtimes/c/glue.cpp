// Between the worker, which is C, and a handler in C++: exceptions become errors, with the stack of where they were thrown;
// what std::cout and std::cerr are given goes where printf's does.

#include "constellation.hpp"

extern "C" {
#include "thrown.h"
#include "worker.h"
}

#include <cstdio>
#include <cstdlib>
#include <cxxabi.h>
#include <exception>
#include <execinfo.h>
#include <iostream>
#include <streambuf>
#include <typeinfo>

std::string CT_FUNCTION(std::string_view event, constellation::Context &context);

namespace {

std::string demangled(const char *name) {
    int status = 0;
    char *plain = abi::__cxa_demangle(name, nullptr, nullptr, &status);
    std::string out = status == 0 ? plain : name;
    std::free(plain);
    return out;
}

// "program(name+0x1d) [0x...]", the name as the source has it
std::string frame(const char *line) {
    const std::string text = line;
    const auto from = text.find('('), to = text.find('+', from);
    if (from == std::string::npos || to == std::string::npos || to == from + 1)
        return text;
    return text.substr(0, from + 1) + demangled(text.substr(from + 1, to - from - 1).c_str()) + text.substr(to);
}

std::string stack() {
    char **lines = backtrace_symbols(ct__thrown_at, ct__thrown_count);
    std::string out;
    for (int i = 1; lines != nullptr && i < ct__thrown_count; i++)
        out += frame(lines[i]) + "\n";
    std::free(lines);
    return out;
}

class Printer : public std::streambuf {
  public:
    explicit Printer(FILE *&file) : file_(file) {}

  protected:
    int overflow(int c) override { return c == EOF ? 0 : std::fputc(c, file_); }
    std::streamsize xsputn(const char *data, std::streamsize size) override {
        return static_cast<std::streamsize>(std::fwrite(data, 1, static_cast<size_t>(size), file_));
    }
    int sync() override { return std::fflush(file_); }

  private:
    FILE *&file_;
};

void catch_streams() {
    static Printer out(stdout), err(stderr);
    std::cout.rdbuf(&out);
    std::cerr.rdbuf(&err);
    std::clog.rdbuf(&err);
}

} // namespace

std::string constellation::quoted(std::string_view text) {
    ct_answer scratch = {};
    ct_add_quoted_bytes(&scratch, text.data(), text.size());
    std::string out(scratch.output.data, scratch.output.len);
    std::free(scratch.output.data);
    return out;
}

std::optional<std::string> constellation::text_of(std::string_view event, const char *member) {
    const std::string whole(event);
    const long size = ct_event_text(whole.c_str(), member, nullptr, 0);
    if (size < 0)
        return std::nullopt;
    std::string out(static_cast<size_t>(size) + 1, '\0');
    (void)ct_event_text(whole.c_str(), member, out.data(), out.size());
    out.pop_back();
    return out;
}

extern "C" int CT_HANDLER(const char *event, size_t length, ct_context *context, ct_answer *answer) {
    static const bool is_caught = (catch_streams(), true);
    (void)is_caught;
    try {
        constellation::Context own(*context, *answer);
        const std::string output = CT_FUNCTION(std::string_view(event, length), own);
        if (!own.has_chunks())
            ct_add_bytes(answer, output.data(), output.size());
        return 0;
    } catch (const std::exception &error) {
        ct__fail_with(answer, demangled(typeid(error).name()).c_str(), error.what(), stack().c_str());
    } catch (...) {
        const std::type_info *type = abi::__cxa_current_exception_type();
        ct__fail_with(answer, type != nullptr ? demangled(type->name()).c_str() : "Error", "not a std::exception", stack().c_str());
    }
    return -1;
}
