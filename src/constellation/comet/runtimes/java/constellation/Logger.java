package constellation;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** Writes lines of the call's own log, up to a bound. */
public final class Logger {
    private static final int STDERR = 1, CUT = 2;

    private final Channel channel;
    private final int callId;
    private int left;

    Logger(Channel channel, int callId, int limitBytes) {
        this.channel = channel;
        this.callId = callId;
        this.left = limitBytes;
    }

    public void debug(String text) {
        line("DEBUG ", text);
    }

    public void info(String text) {
        line("INFO ", text);
    }

    public void warn(String text) {
        line("WARN ", text);
    }

    public void error(String text) {
        line("ERROR ", text);
    }

    private synchronized void line(String level, String text) {
        if (left < 0) return;
        byte[] raw = (level + text + "\n").getBytes(StandardCharsets.UTF_8);
        int flags = STDERR;
        if (raw.length > left) {
            int end = left;
            while (end > 0 && (raw[end] & 0xc0) == 0x80) end--; // not in the middle of a character
            raw = Arrays.copyOf(raw, end);
            flags |= CUT;
            left = -1;
        } else {
            left -= raw.length;
        }
        channel.send(Channel.LOG, flags, callId, raw);
    }
}
