// What a function in C++ includes. Its handler is
//
//     std::string handler(std::string_view event, constellation::Context &context);
//
// and returns JSON. What it throws is the error of the call. A streamed answer is what it gave to context.chunk().
#ifndef CONSTELLATION_HPP
#define CONSTELLATION_HPP

#include "constellation.h"

#include <optional>
#include <string>
#include <string_view>

namespace constellation {

class Context {
  public:
    Context(const ct_context &call, ct_answer &answer)
        : request_id(call.request_id), function_name(call.function_name), function_version(call.function_version),
          tenant(call.tenant), namespace_name(call.namespace_name), memory_limit_mb(call.memory_limit_mb), deadline(call.deadline),
          trace_id(call.trace_id), span_id(call.span_id), traceparent(call.traceparent), call_(call), answer_(answer) {}

    const std::string request_id, function_name, function_version, tenant, namespace_name;
    const unsigned memory_limit_mb;
    const double deadline; // seconds of Unix time
    const std::string trace_id, span_id, traceparent;

    unsigned remaining_ms() const { return ct_remaining_ms(&call_); }

    // A line of the log, of this call's own even where several run at a time.
    void log(std::string_view level, std::string_view text) const {
        ct_log(&call_, std::string(level).c_str(), "%.*s", static_cast<int>(text.size()), text.data());
    }

    // Sends a piece of a streamed answer, waiting while the caller does not take it.
    void chunk(std::string_view piece) {
        ct_chunk(&answer_, piece.data(), piece.size());
        has_chunks_ = true;
    }

    bool has_chunks() const { return has_chunks_; }

  private:
    const ct_context &call_;
    ct_answer &answer_;
    bool has_chunks_ = false;
};

// Text as JSON.
std::string quoted(std::string_view text);

// The text of a member of the event, an object; nothing where there is no such member or it is no text.
std::optional<std::string> text_of(std::string_view event, const char *member);

} // namespace constellation

#endif
