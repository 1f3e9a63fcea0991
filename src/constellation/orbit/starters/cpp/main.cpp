// @name@: called with the request's JSON; what it returns is JSON, and becomes the answer's `output`.
#include <constellation.hpp>
#include <iostream>

std::string handler(std::string_view event, constellation::Context &) {
    const std::string name = constellation::text_of(event, "name").value_or("world");
    std::cout << "greeting " << name << std::endl; // shown by `orbit logs @name@`
    return "{\"message\":" + constellation::quoted("Hello, " + name + "!") + "}";
}
