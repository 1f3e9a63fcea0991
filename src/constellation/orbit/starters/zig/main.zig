// @name@: called with the request's JSON; what it returns becomes the answer's `output`.
const std = @import("std");
const constellation = @import("constellation");

const Event = struct { name: []const u8 = "world" };
const Greeting = struct { message: []const u8 };

pub fn handler(allocator: std.mem.Allocator, event: Event, _: *constellation.Context) !Greeting {
    std.debug.print("greeting {s}\n", .{event.name}); // shown by `orbit logs @name@`
    return .{ .message = try std.fmt.allocPrint(allocator, "Hello, {s}!", .{event.name}) };
}
