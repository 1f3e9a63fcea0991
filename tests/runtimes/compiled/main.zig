const std = @import("std");
const constellation = @import("constellation");

const Event = struct { do: []const u8 = "", text: []const u8 = "" };
var calls = std.atomic.Value(u32).init(0);

fn sink(context: *constellation.Context, text: []const u8) !std.json.Value {
    return context.fail(error.Mishap, "the reason: {s}", .{text});
}

fn is(event: Event, what: []const u8) bool {
    return std.mem.eql(u8, event.do, what);
}

pub fn handler(allocator: std.mem.Allocator, event: Event, context: *constellation.Context) !std.json.Value {
    const count = calls.fetchAdd(1, .seq_cst) + 1;
    if (is(event, "echo")) return .{ .string = event.text };
    if (is(event, "fail")) return try sink(context, event.text);
    if (is(event, "print")) {
        context.print("out {s}\n", .{event.text});
        std.debug.print("err {s}\n", .{event.text});
        context.log("INFO", "logged {s}", .{event.text});
        context.print("unended", .{});
    }
    if (is(event, "flood")) {
        for (0..20000) |line| context.print("line {d} of many that nobody will read\n", .{line});
        return .{ .string = "done" };
    }
    if (is(event, "sleep")) std.time.sleep(600 * std.time.ns_per_s);
    if (is(event, "exit")) std.process.exit(3);
    if (is(event, "big")) {
        const filled = try allocator.alloc(u8, try std.fmt.parseInt(usize, event.text, 10));
        @memset(filled, 'x');
        return .{ .string = filled };
    }
    if (is(event, "size")) return .{ .integer = @intCast(event.text.len) };
    if (is(event, "stream")) {
        for ([_][]const u8{ "one", "tw\"o", "drei ü" }) |piece| context.chunk(piece);
    }
    if (is(event, "calls")) return .{ .integer = count };
    if (is(event, "env")) return .{ .string = std.posix.getenv("COLOUR") orelse "" };
    if (is(event, "invalid")) return context.fail(error.NotJson, "not JSON", .{});
    if (is(event, "context")) {
        var found = std.json.ObjectMap.init(allocator);
        try found.put("request_id", .{ .string = context.request_id });
        try found.put("function_name", .{ .string = context.function_name });
        try found.put("function_version", .{ .string = context.function_version });
        try found.put("tenant", .{ .string = context.tenant });
        try found.put("namespace", .{ .string = context.namespace });
        try found.put("memory_limit_mb", .{ .integer = context.memory_limit_mb });
        try found.put("traceparent", .{ .string = context.traceparent });
        try found.put("remaining_ms", .{ .integer = context.remaining_ms() });
        try found.put("deadline", .{ .float = context.deadline });
        return .{ .object = found };
    }
    return .null;
}
