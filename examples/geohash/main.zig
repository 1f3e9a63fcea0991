const std = @import("std");
const constellation = @import("constellation");

const Event = struct { latitude: f64, longitude: f64, length: usize = 9 };
const Place = struct { geohash: []const u8 };

const letters = "0123456789bcdefghjkmnpqrstuvwxyz";

/// A short name for a place on Earth. Places whose names begin alike are near each other.
pub fn handler(allocator: std.mem.Allocator, event: Event, context: *constellation.Context) !Place {
    if (@abs(event.latitude) > 90 or @abs(event.longitude) > 180)
        return context.fail(error.NoSuchPlace, "{d}, {d} is not on Earth", .{ event.latitude, event.longitude });
    const name = try allocator.alloc(u8, @min(event.length, 12));
    var west_east = [2]f64{ -180, 180 };
    var south_north = [2]f64{ -90, 90 };
    var is_east = true; // each letter is five halvings, of the longitude and the latitude by turns
    for (name) |*letter| {
        var index: usize = 0;
        for (0..5) |_| {
            const range = if (is_east) &west_east else &south_north;
            const value = if (is_east) event.longitude else event.latitude;
            const middle = (range[0] + range[1]) / 2;
            const is_upper = value >= middle;
            range[if (is_upper) 0 else 1] = middle;
            index = index * 2 + @intFromBool(is_upper);
            is_east = !is_east;
        }
        letter.* = letters[index];
    }
    return .{ .geohash = name };
}
