package constellation;

import java.lang.reflect.Array;
import java.lang.reflect.RecordComponent;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** JSON to and from Map, List, String, Long, Double, Boolean and null; out of records, arrays and other numbers too. */
public final class Json {
    private static final int DEPTH_MAX = 500;

    private final String text;
    private int at;

    private Json(String text) {
        this.text = text;
    }

    public static Object parse(String text) {
        Json reader = new Json(text);
        Object value = reader.value(0);
        reader.space();
        if (reader.at < text.length()) throw reader.wrong("the end");
        return value;
    }

    public static String write(Object value) {
        StringBuilder out = new StringBuilder();
        write(value, out, "$", 0);
        return out.toString();
    }

    // --- writing

    private static void write(Object value, StringBuilder out, String place, int depth) {
        if (depth > DEPTH_MAX) throw misfit(place, "is nested too deeply or holds itself");
        if (value == null || value instanceof Boolean || value instanceof Long || value instanceof Integer || value instanceof Short
                || value instanceof Byte || value instanceof java.math.BigInteger || value instanceof java.math.BigDecimal) {
            out.append(value);
        } else if (value instanceof Number) {
            double number = ((Number) value).doubleValue();
            if (Double.isNaN(number) || Double.isInfinite(number)) throw misfit(place, "is " + value);
            out.append(value);
        } else if (value instanceof CharSequence || value instanceof Character || value instanceof Enum) {
            quote(value.toString(), out);
        } else if (value instanceof Map) {
            String comma = "{";
            for (Map.Entry<?, ?> entry : ((Map<?, ?>) value).entrySet()) {
                out.append(comma);
                quote(String.valueOf(entry.getKey()), out);
                out.append(':');
                write(entry.getValue(), out, place + "." + entry.getKey(), depth + 1);
                comma = ",";
            }
            out.append(comma.equals("{") ? "{}" : "}");
        } else if (value instanceof Iterable) {
            String comma = "[";
            int i = 0;
            for (Object item : (Iterable<?>) value) {
                out.append(comma);
                write(item, out, place + "[" + i++ + "]", depth + 1);
                comma = ",";
            }
            out.append(comma.equals("[") ? "[]" : "]");
        } else if (value.getClass().isArray()) {
            out.append('[');
            for (int i = 0; i < Array.getLength(value); i++) {
                if (i > 0) out.append(',');
                write(Array.get(value, i), out, place + "[" + i + "]", depth + 1);
            }
            out.append(']');
        } else if (value.getClass().isRecord()) {
            write(members(value), out, place, depth);
        } else {
            throw misfit(place, "is a " + value.getClass().getName());
        }
    }

    private static Map<String, Object> members(Object value) {
        Map<String, Object> members = new LinkedHashMap<>();
        try {
            for (RecordComponent each : value.getClass().getRecordComponents()) {
                each.getAccessor().setAccessible(true);
                members.put(each.getName(), each.getAccessor().invoke(value));
            }
        } catch (ReflectiveOperationException error) {
            throw new IllegalArgumentException(error);
        }
        return members;
    }

    private static IllegalArgumentException misfit(String place, String what) {
        return new IllegalArgumentException("the output is not JSON: " + place + " " + what);
    }

    static void quote(String text, StringBuilder out) {
        out.append('"');
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            boolean isPair = Character.isHighSurrogate(c) && i + 1 < text.length() && Character.isLowSurrogate(text.charAt(i + 1));
            if (c == '"' || c == '\\') {
                out.append('\\').append(c);
            } else if (c < 0x20) {
                out.append(String.format("\\u%04x", (int) c));
            } else if (isPair) {
                out.append(c).append(text.charAt(++i));
            } else {
                out.append(Character.isSurrogate(c) ? '\ufffd' : c); // one alone is no text
            }
        }
        out.append('"');
    }

    // --- reading

    private IllegalArgumentException wrong(String wanted) {
        return new IllegalArgumentException("not JSON at character " + at + ": " + wanted + " was expected");
    }

    private void space() {
        while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) at++;
    }

    private char next() {
        space();
        if (at >= text.length()) throw wrong("a value");
        return text.charAt(at);
    }

    private Object word(String word, Object value) {
        if (!text.startsWith(word, at)) throw wrong(word);
        at += word.length();
        return value;
    }

    private Object value(int depth) {
        if (depth > DEPTH_MAX) throw wrong("less depth");
        switch (next()) {
            case 'n': return word("null", null);
            case 't': return word("true", true);
            case 'f': return word("false", false);
            case '"': return string();
            case '[': {
                List<Object> items = new ArrayList<>();
                at++;
                if (next() == ']') at++;
                else
                    do items.add(value(depth + 1));
                    while (goesOn(']'));
                return items;
            }
            case '{': {
                Map<String, Object> members = new LinkedHashMap<>();
                at++;
                if (next() == '}') at++;
                else
                    do {
                        if (next() != '"') throw wrong("a name");
                        String name = string();
                        if (next() != ':') throw wrong("a colon");
                        at++;
                        members.put(name, value(depth + 1));
                    } while (goesOn('}'));
                return members;
            }
            default: return number();
        }
    }

    private boolean goesOn(char end) {
        char found = next();
        if (found != ',' && found != end) throw wrong("a comma");
        at++;
        return found == ',';
    }

    private Object number() {
        int from = at;
        while (at < text.length() && "0123456789+-.eE".indexOf(text.charAt(at)) >= 0) at++;
        String digits = text.substring(from, at);
        try {
            return Long.valueOf(digits);
        } catch (NumberFormatException notWhole) {
            try {
                return Double.valueOf(digits);
            } catch (NumberFormatException error) {
                throw wrong("a value");
            }
        }
    }

    private String string() {
        StringBuilder out = new StringBuilder();
        for (at++; at < text.length(); at++) {
            char c = text.charAt(at);
            if (c == '"') {
                at++;
                return out.toString();
            }
            if (c == '\\') {
                c = ++at < text.length() ? text.charAt(at) : ' ';
                int escape = "bfnrt".indexOf(c);
                if (c == 'u') {
                    if (at + 4 >= text.length()) throw wrong("four digits");
                    c = (char) Integer.parseInt(text.substring(at + 1, at + 5), 16);
                    at += 4;
                } else if (escape >= 0) {
                    c = "\b\f\n\r\t".charAt(escape);
                }
            }
            out.append(c);
        }
        throw wrong("a quote");
    }
}
