package constellation;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** Values under keys, kept between calls: the function's own, or those of a `store`, which its namespace shares. */
public final class State {
    private final Context context;
    private final String name;

    State(Context context, String name) {
        this.context = context;
        this.name = name;
    }

    /** A value as it is kept; `expiresAt` is RFC 3339, or null. */
    public record Entry(Object value, long version, String expiresAt) {}

    /** A page of a list; `next` is the `after` of the next page, null at the end. */
    public record Keys(List<String> items, String next) {}

    public State store(String name) {
        return new State(context, name);
    }

    /** A value, null when there is none. */
    public Object get(String key) {
        Entry found = entry(key);
        return found == null ? null : found.value();
    }

    public Entry entry(String key) {
        Map<?, ?> found = context.ask(Asker.GET, of(key));
        return found == null ? null : new Entry(found.get("value"), (Long) found.get("version"), (String) found.get("expires_at"));
    }

    /** Keeps a value; returns its version. */
    public long put(String key, Object value) {
        return put(key, value, null, null);
    }

    /** The same, only if the key has a version (0: is not there; null: any), and until a time is over (null: for ever). */
    public long put(String key, Object value, Long ifVersion, Duration ttl) {
        Asker.Fields fields = of(key).put(Asker.VALUE, Json.write(value)).put(Asker.IF_VERSION, ifVersion);
        return (Long) context.ask(Asker.PUT, fields.put(Asker.TTL_MS, ttl == null ? null : Math.max(1, ttl.toMillis()))).get("version");
    }

    /** Deletes a key; false when it was not there. */
    public boolean delete(String key) {
        return delete(key, null);
    }

    public boolean delete(String key, Long ifVersion) {
        return (Boolean) context.ask(Asker.DELETE, of(key).put(Asker.IF_VERSION, ifVersion)).get("deleted");
    }

    /** Keys that begin with a prefix, in byte order, behind `after` (null: from the first on). */
    public Keys list(String prefix, int limit, String after) {
        Map<?, ?> found = context.ask(Asker.LIST, of(prefix).put(Asker.LIMIT, limit).put(Asker.AFTER, after));
        List<String> items = new ArrayList<>();
        for (Object each : (List<?>) found.get("items")) items.add((String) ((Map<?, ?>) each).get("key"));
        return new Keys(items, (String) found.get("next"));
    }

    private Asker.Fields of(String key) {
        return new Asker.Fields().put(Asker.NAME, name).put(Asker.KEY, key);
    }
}
