#include <constellation.hpp>

#include <algorithm>
#include <sstream>
#include <stdexcept>
#include <vector>

namespace {

// How many characters a text in UTF-8 has: bytes that go on with one do not count.
std::size_t width_of(const std::string &text) {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](unsigned char byte) { return (byte & 0xc0) != 0x80; }));
}

std::vector<std::string> wrapped(const std::string &text, std::size_t width) {
    std::vector<std::string> lines;
    std::istringstream words(text);
    for (std::string word; words >> word;) {
        if (lines.empty() || width_of(lines.back()) + 1 + width_of(word) > width)
            lines.push_back(word);
        else
            lines.back() += " " + word;
    }
    return lines;
}

} // namespace

// Breaks a text into lines of at most `width` characters, between words; a longer word has a line of its own.
std::string handler(std::string_view event, constellation::Context &) {
    const auto text = constellation::text_of(event, "text");
    if (!text)
        throw std::invalid_argument("there is no text in the event");
    const auto width = std::stoul(constellation::text_of(event, "width").value_or("72"));
    std::string out;
    for (const auto &line : wrapped(*text, width))
        out += (out.empty() ? "[" : ",") + constellation::quoted(line);
    return "{\"lines\":" + (out.empty() ? "[" : out) + "]}";
}
