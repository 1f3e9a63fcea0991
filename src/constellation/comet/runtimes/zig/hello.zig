const std = @import("std");
const constellation = @import("constellation");

const Event = struct { name: []const u8 = "world" };
const Greeting = struct { message: []const u8 };

pub fn handler(allocator: std.mem.Allocator, event: Event, _: *constellation.Context) !Greeting {
    return .{ .message = try std.fmt.allocPrint(allocator, "Hello, {s}!", .{event.name}) };
}
