import constellation.Context;
import java.math.BigInteger;
import java.util.Map;

/** Says whether an account number can be right: its two check digits make the whole leave 1 when divided by 97. */
public class Main {
    record Verdict(boolean valid, String country, String reason) {}

    private static final Map<String, Integer> LENGTHS = Map.of("DE", 22, "FR", 27, "GB", 22, "NL", 18, "NO", 15, "CH", 21);
    private static final BigInteger DIVISOR = BigInteger.valueOf(97);

    static Object handler(Map<String, Object> event, Context context) {
        String iban = String.valueOf(event.get("iban")).replace(" ", "").toUpperCase();
        if (!iban.matches("[A-Z]{2}\\d{2}[A-Z0-9]{11,30}")) return new Verdict(false, null, "it does not look like one");
        String country = iban.substring(0, 2);
        Integer length = LENGTHS.get(country);
        if (length != null && iban.length() != length) return new Verdict(false, country, "one of this country has " + length + " characters");
        StringBuilder digits = new StringBuilder();
        for (char each : (iban.substring(4) + iban.substring(0, 4)).toCharArray()) digits.append(Character.getNumericValue(each));
        boolean isRight = new BigInteger(digits.toString()).mod(DIVISOR).equals(BigInteger.ONE);
        return isRight ? new Verdict(true, country, null) : new Verdict(false, country, "its check digits are wrong");
    }
}
