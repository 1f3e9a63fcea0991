require 'bigdecimal'
require 'erb'

# Read once an instance; <%- and -%> leave no empty lines.
INVOICE = ERB.new(File.read(File.join(__dir__, 'invoice.erb')), trim_mode: '-')

def money(amount) = format('%.2f', amount)

# Lays an invoice out as text. Amounts are decimal numbers in strings: binary ones would lose cents.
def handler(event, context)
  lines = event.fetch('lines').map do |line|
    { text: line.fetch('text'), total: BigDecimal(line.fetch('price')) * line.fetch('count') }
  end
  total = lines.sum(BigDecimal(0)) { |line| line[:total] }
  { total: money(total), text: INVOICE.result_with_hash(number: event.fetch('number'), lines: lines, total: total) }
end
