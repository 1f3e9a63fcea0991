import constellation.Context

/** What an expression of + - * / and parentheses comes to: a parser that reads it from the left, one letter ahead. */
object Main:
  def handler(event: java.util.Map[String, Any], context: Context): Any =
    val text = event.get("expression").toString
    java.util.Map.of("expression", text, "value", Expression(text.filterNot(_.isWhitespace)).value())

final class Expression(text: String):
  private var at = 0

  def value(): Double =
    val whole = sum()
    if at < text.length then wrong(s"'${text(at)}' was not expected")
    whole

  private def next: Char = if at < text.length then text(at) else '\u0000'

  private def sum(): Double = chain(product, Map('+' -> (_ + _), '-' -> (_ - _)))

  private def product(): Double = chain(factor, Map('*' -> (_ * _), '/' -> (_ / _)))

  private def chain(operand: () => Double, operators: Map[Char, (Double, Double) => Double]): Double =
    var result = operand()
    while operators.contains(next) do
      val apply = operators(next)
      at += 1
      result = apply(result, operand())
    result

  private def factor(): Double = next match
    case '-' =>
      at += 1
      -factor()
    case '(' =>
      at += 1
      val inner = sum()
      if next != ')' then wrong("a parenthesis is not closed")
      at += 1
      inner
    case _ =>
      val digits = text.drop(at).takeWhile(letter => letter.isDigit || letter == '.')
      if digits.isEmpty then wrong("a number was expected")
      at += digits.length
      digits.toDouble

  private def wrong(what: String): Nothing = throw IllegalArgumentException(s"$what at character ${at + 1}")
