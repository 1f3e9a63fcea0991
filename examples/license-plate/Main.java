import constellation.Context;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Reads a registration number as it is written in one of several countries. */
public class Main {
    record Plate(String country, String district, String number) {}

    private static final Map<String, Pattern> FORMS = Map.of(
            "DE", Pattern.compile("([A-ZÄÖÜ]{1,3})[- ]([A-Z]{1,2} ?\\d{1,4}[EH]?)"),
            "FR", Pattern.compile("()([A-Z]{2}-\\d{3}-[A-Z]{2})"),
            "GB", Pattern.compile("([A-Z]{2})(\\d{2} [A-Z]{3})"));

    static Object handler(Map<String, Object> event, Context context) {
        String text = String.valueOf(event.get("plate")).strip().toUpperCase();
        List<Plate> found = FORMS.entrySet().stream().flatMap(form -> {
            Matcher matcher = form.getValue().matcher(text);
            return matcher.matches() ? java.util.stream.Stream.of(new Plate(form.getKey(), matcher.group(1), matcher.group(2))) : java.util.stream.Stream.empty();
        }).sorted(java.util.Comparator.comparing(Plate::country)).toList();
        return Map.of("plates", found);
    }
}
