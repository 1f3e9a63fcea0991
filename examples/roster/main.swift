/// Shares shifts among people, the one with the fewest first, so that nobody has two in a row.
struct Event: Decodable {
    let people: [String]
    let shifts: [String]
}

struct Shift: Encodable {
    let shift, person: String
}

func handler(event: Event, context: Context) throws -> [Shift] {
    guard event.people.count > 1 else { throw Failure("TooFew", "\(event.people.count) people can not take turns") }
    var counts = Dictionary(uniqueKeysWithValues: event.people.map { ($0, 0) })
    var last: String?
    return event.shifts.map { shift in
        let free = event.people.filter { $0 != last }
        let person = free.min { (counts[$0]!, $0) < (counts[$1]!, $1) }!
        counts[person]! += 1
        last = person
        return Shift(shift: shift, person: person)
    }
}
