#include <constellation.hpp>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <stdexcept>
#include <string>
#include <unistd.h>

using namespace std::string_literals;

class Mishap : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

static std::atomic<int> calls;

[[gnu::noinline]] void sink(const std::string &what) {
    throw Mishap("the reason: " + what);
}

std::string handler(std::string_view event, constellation::Context &context) {
    const std::string what = constellation::text_of(event, "do").value_or("");
    const std::string text = constellation::text_of(event, "text").value_or("");
    calls++;
    if (what == "echo")
        return constellation::quoted(text);
    if (what == "fail")
        sink(text);
    if (what == "panic")
        throw 7;
    if (what == "print") {
        std::cout << "out " << text << std::endl;
        std::cerr << "err " << text << "\n";
        context.log("INFO", "logged " + text);
        std::printf("unended");
    }
    if (what == "flood") {
        for (int i = 0; i < 200000; i++)
            std::cout << "line " << i << " of many that nobody will read\n";
        return "\"done\"";
    }
    if (what == "sleep")
        sleep(600);
    if (what == "exit")
        std::exit(3);
    if (what == "big")
        return constellation::quoted(std::string(std::stoul(text), 'x'));
    if (what == "size")
        return std::to_string(event.size());
    if (what == "stream") {
        for (const auto &piece : {"one"s, "tw\"o"s, "drei ü"s})
            context.chunk(piece);
    }
    if (what == "calls")
        return std::to_string(calls);
    if (what == "env")
        return constellation::quoted(std::getenv("COLOUR"));
    if (what == "invalid")
        return "{no json";
    if (what == "context")
        return "{\"request_id\":" + constellation::quoted(context.request_id) + ",\"function_name\":" +
               constellation::quoted(context.function_name) + ",\"function_version\":" + constellation::quoted(context.function_version) +
               ",\"tenant\":" + constellation::quoted(context.tenant) + ",\"namespace\":" + constellation::quoted(context.namespace_name) +
               ",\"memory_limit_mb\":" + std::to_string(context.memory_limit_mb) + ",\"traceparent\":" +
               constellation::quoted(context.traceparent) + ",\"remaining_ms\":" + std::to_string(context.remaining_ms()) +
               ",\"deadline\":" + std::to_string(context.deadline) + "}";
    return "null";
}
