#include <constellation.hpp>

std::string handler(std::string_view event, constellation::Context &) {
    const std::string name = constellation::text_of(event, "name").value_or("world");
    return "{\"message\":" + constellation::quoted("Hello, " + name + "!") + "}";
}
