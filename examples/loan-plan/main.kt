import constellation.Context
import kotlin.math.pow
import kotlin.math.roundToLong

data class Loan(val cents: Long, val percentAYear: Double, val months: Int)

/** A loan that is paid back in equal parts: what is due each month, what is left, and what all of it costs. */
fun handler(event: Map<String, Any?>, context: Context): Any {
    val loan = Loan(
        cents = (event["cents"] as Number).toLong(),
        percentAYear = (event["percent_a_year"] as Number).toDouble(),
        months = (event["months"] as Number).toInt(),
    )
    require(loan.months in 1..600) { "months must be 1 to 600, not ${loan.months}" }
    val rate = loan.percentAYear / 1200
    val due = if (rate == 0.0) loan.cents.toDouble() / loan.months else loan.cents * rate / (1 - (1 + rate).pow(-loan.months))
    var left = loan.cents
    var interest = 0L
    val plan = (1..loan.months).map { month ->
        val added = (left * rate).roundToLong()
        val paid = if (month == loan.months) left + added else due.roundToLong() // the last one takes what rounding left
        interest += added
        left += added - paid
        mapOf("month" to month, "paid" to paid, "left" to left)
    }
    return mapOf("monthly" to due.roundToLong(), "interest" to interest, "plan" to plan)
}
