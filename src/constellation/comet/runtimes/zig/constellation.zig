//! What a function in Zig imports as "constellation", and what is between its handler and the worker, which is C.
//!
//!     pub fn handler(allocator: std.mem.Allocator, event: Event, context: *constellation.Context) !Answer
//!
//! `Event` is what std.json can parse (std.json.Value is anything), `Answer` what it can write; both live as long as the
//! call. `allocator` is the call's.

const std = @import("std");
const c = @cImport(@cInclude("constellation.h"));

pub const Context = struct {
    request_id: []const u8,
    function_name: []const u8,
    function_version: []const u8,
    tenant: []const u8,
    namespace: []const u8,
    memory_limit_mb: u32,
    deadline: f64, // seconds of Unix time
    trace_id: []const u8,
    span_id: []const u8,
    traceparent: []const u8,
    call: *const c.ct_context,
    answer: *c.ct_answer,
    allocator: std.mem.Allocator,
    message: []const u8 = "",
    has_chunks: bool = false,

    pub fn remaining_ms(self: *const Context) u32 {
        return c.ct_remaining_ms(self.call);
    }

    /// A line of the log, of this call's own even where several run at a time.
    pub fn log(self: *const Context, level: [:0]const u8, comptime format: []const u8, values: anytype) void {
        const text = std.fmt.allocPrintZ(self.allocator, format, values) catch return;
        c.ct_log(self.call, level.ptr, "%s", text.ptr);
    }

    /// What goes to standard output, as part of the call's log.
    pub fn print(_: *const Context, comptime format: []const u8, values: anytype) void {
        std.io.getStdOut().writer().print(format, values) catch {};
    }

    /// Sends a piece of a streamed answer, waiting while the caller does not take it.
    pub fn chunk(self: *Context, piece: []const u8) void {
        c.ct_chunk(self.answer, piece.ptr, piece.len);
        self.has_chunks = true;
    }

    /// Gives an error words: `return context.fail(error.NotFound, "no {s}", .{name});`
    pub fn fail(self: *Context, err: anytype, comptime format: []const u8, values: anytype) @TypeOf(err) {
        self.message = std.fmt.allocPrint(self.allocator, format, values) catch "";
        return err;
    }
};

pub const Raw = *c.ct_context;
pub const RawAnswer = *c.ct_answer;

extern fn ct__fail_with(answer: RawAnswer, kind: [*:0]const u8, message: [*:0]const u8, stack: [*:0]const u8) void;

/// What the worker calls.
pub fn call(comptime handler: anytype, event: []const u8, context: Raw, answer: RawAnswer) c_int {
    var arena = std.heap.ArenaAllocator.init(std.heap.c_allocator);
    defer arena.deinit();
    const allocator = arena.allocator();
    var own = Context{
        .request_id = std.mem.span(context.request_id),
        .function_name = std.mem.span(context.function_name),
        .function_version = std.mem.span(context.function_version),
        .tenant = std.mem.span(context.tenant),
        .namespace = std.mem.span(context.namespace_name),
        .memory_limit_mb = context.memory_limit_mb,
        .deadline = context.deadline,
        .trace_id = std.mem.span(context.trace_id),
        .span_id = std.mem.span(context.span_id),
        .traceparent = std.mem.span(context.traceparent),
        .call = context,
        .answer = answer,
        .allocator = allocator,
    };
    respond(handler, event, &own) catch |err| {
        const message = if (own.message.len > 0) own.message else @errorName(err);
        var stack = std.ArrayList(u8).init(allocator);
        if (@errorReturnTrace()) |trace| describe(trace.*, stack.writer()) catch {};
        ct__fail_with(answer, @errorName(err).ptr, terminated(allocator, message), terminated(allocator, stack.items));
        return -1;
    };
    return 0;
}

fn terminated(allocator: std.mem.Allocator, value: []const u8) [*:0]const u8 {
    return (allocator.dupeZ(u8, value) catch return "").ptr;
}

fn describe(trace: std.builtin.StackTrace, out: anytype) !void {
    const info = try std.debug.getSelfDebugInfo();
    try std.debug.writeStackTrace(trace, out, info, .no_color);
}

fn respond(comptime handler: anytype, event: []const u8, context: *Context) !void {
    const Event = @typeInfo(@TypeOf(handler)).@"fn".params[1].type.?;
    const options = std.json.ParseOptions{ .ignore_unknown_fields = true, .allocate = .alloc_always };
    const value = try std.json.parseFromSliceLeaky(Event, context.allocator, event, options);
    const output = try handler(context.allocator, value, context);
    if (context.has_chunks) return;
    const written = try std.json.stringifyAlloc(context.allocator, output, .{});
    c.ct_add_bytes(context.answer, written.ptr, written.len);
}
