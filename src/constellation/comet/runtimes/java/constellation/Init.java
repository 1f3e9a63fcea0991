package constellation;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;

/** What the host says once: as much of protobuf as that needs. */
final class Init {
    String handler = "", name = "", version = "", tenant = "", namespace = "";
    int memoryLimitMb, concurrency = 1, logLimitBytes = 64 << 10;
    final Map<String, String> env = new HashMap<>();

    private interface Taker {
        void take(int number, long value, byte[] text);
    }

    static Init read(byte[] body) {
        Init out = new Init();
        each(body, (number, value, text) -> {
            switch (number) {
                case 1: out.handler = utf8(text); break;
                case 2: out.name = utf8(text); break;
                case 3: out.version = utf8(text); break;
                case 4: out.tenant = utf8(text); break;
                case 5: out.namespace = utf8(text); break;
                case 6: out.memoryLimitMb = (int) value; break;
                case 7: out.concurrency = (int) value; break;
                case 8:
                    String[] pair = {"", ""};
                    each(text, (key, none, raw) -> pair[key == 1 ? 0 : 1] = utf8(raw));
                    out.env.put(pair[0], pair[1]);
                    break;
                case 10: out.logLimitBytes = (int) value; break;
                default:
            }
        });
        return out;
    }

    private static String utf8(byte[] raw) {
        return new String(raw, StandardCharsets.UTF_8);
    }

    private static void each(byte[] data, Taker taker) {
        int[] at = {0};
        while (at[0] < data.length) {
            long tag = varint(data, at);
            long value = varint(data, at);
            byte[] text = {};
            if ((tag & 7) == 2) {
                text = Arrays.copyOfRange(data, at[0], at[0] + (int) value);
                at[0] += (int) value;
            }
            taker.take((int) (tag >> 3), value, text);
        }
    }

    private static long varint(byte[] data, int[] at) {
        long value = 0;
        for (int shift = 0; at[0] < data.length; shift += 7) {
            byte next = data[at[0]++];
            value |= (long) (next & 0x7f) << shift;
            if (next >= 0) break;
        }
        return value;
    }
}
