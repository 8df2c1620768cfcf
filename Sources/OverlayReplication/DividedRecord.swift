import OverlayModel

/// An endpoint in the pieces in which it travels and is hashed: its record with the first names, and the other names in parts. Each
/// piece fits a datagram and changes by itself, so readers see names come and go, and never one that the endpoint has not.
struct DividedRecord: Hashable, Sendable {
    /// Bounds of all pieces together. Twice what an endpoint may have, as new names come before old ones go.
    private static let mostNames = 2 * Limits.namesPerEndpoint
    private static let mostNameBytes = 2 * Limits.nameBytesPerEndpoint

    /// Record with the names for which it has room.
    var first: EndpointRecord
    /// Names that follow, by number of their part; none empty.
    private(set) var parts: [UInt8: [String]] = [:]

    init(_ first: EndpointRecord) { self.first = first }

    /// Parts in order.
    var sortedParts: [NamePart] {
        guard !parts.isEmpty else { return [] }
        return parts.sorted { $0.key < $1.key }.map { NamePart(endpoint: first.endpoint, number: $0.key, names: $0.value) }
    }

    /// The endpoint with all its names.
    var whole: EndpointRecord {
        guard !parts.isEmpty else { return first }
        var whole = first
        whole.names = EndpointNames(joining: first.names.names + sortedParts.flatMap(\.names), ports: first.names.ports)
        return whole
    }

    /// Bytes that are hashed.
    var wireBytes: [UInt8] { sortedParts.reduce(into: first.wireBytes) { $0 += $1.wireBytes } }

    /// Sets a part; nil drops it. Nothing changes where all would be more than an endpoint may have.
    mutating func set(_ number: UInt8, _ names: [String]?) {
        var changed = parts
        changed[number] = names
        if names != nil {
            let all = changed.values.joined()
            guard all.count <= Self.mostNames, all.reduce(0, { $0 + $1.utf8.count }) <= Self.mostNameBytes else { return }
        }
        parts = changed
    }

    /// Endpoints from their pieces, both in order; nil if the parts are not in order, or of no record.
    static func all(_ records: [EndpointRecord], _ names: [NamePart]) -> [DividedRecord]? {
        guard zip(names, names.dropFirst()).allSatisfy(NamePart.isBefore) else { return nil }
        var all = records.map { DividedRecord($0) }
        var position = 0
        for part in names {
            while position < all.count, all[position].first.endpoint < part.endpoint { position += 1 }
            guard position < all.count, all[position].first.endpoint == part.endpoint else { return nil }
            all[position].set(part.number, part.names)
        }
        return all
    }

    // MARK: Dividing

    /// Changes that lead from what is known of an endpoint to a record. A name stays in its piece; one that has to move is in the
    /// new piece before it leaves the old one.
    static func changes(from old: DividedRecord?, to new: EndpointRecord) -> [LogChange] {
        var division = Division(new, old)
        division.divide()
        guard let old else {
            return [.endpoint(division.first)] + division.parts.sorted { $0.key < $1.key }.map { division.change($0.key, $0.value) }
        }
        var gaining: [LogChange] = []
        var losing: [LogChange] = []
        for (number, names) in division.parts.sorted(by: { $0.key < $1.key }) where names != old.parts[number] {
            if Set(names).isSubset(of: old.parts[number] ?? []) {
                losing.append(division.change(number, names))
            } else {
                gaining.append(division.change(number, names))
            }
        }
        for number in old.parts.keys.sorted() where division.parts[number] == nil {
            losing.append(.namesGone(new.endpoint, number))
        }
        return gaining + (division.first == old.first ? [] : [.endpoint(division.first)]) + losing
    }

    /// Division of a record's names, as close to an earlier one as can be.
    private struct Division {
        var first: EndpointRecord
        var parts: [UInt8: [String]] = [:]
        private let names: [String]
        private let old: DividedRecord?

        init(_ record: EndpointRecord, _ old: DividedRecord?) {
            first = record
            names = record.names.names
            self.old = old
        }

        func change(_ number: UInt8, _ names: [String]) -> LogChange {
            .names(NamePart(endpoint: first.endpoint, number: number, names: names))
        }

        mutating func divide() {
            guard names.count > Limits.namesPerRecord || names.nameBytes > Limits.nameBytesPerRecord else { return }
            let wanted = Set(names)
            let stay = (old?.first.names.names ?? []).filter { wanted.contains($0) && $0 != names.first }
            let inParts = Set((old?.parts ?? [:]).values.joined()).intersection(wanted)
            var head = Piece(names: Limits.namesPerRecord, bytes: Limits.nameBytesPerRecord)
            // The first name is the one that PTR and SRV records give.
            for name in names.prefix(1) + stay { head.add(name) }
            let known = inParts.union(stay)
            for name in names.dropFirst() where !known.contains(name) { head.add(name) }
            first.names = EndpointNames(names: head.names, ports: first.names.ports)
            let inHead = Set(head.names)
            var pieces: [UInt8: Piece] = [:]
            var placed = inHead
            for (number, names) in old?.parts ?? [:] {
                var piece = Piece(names: Limits.namesPerPart, bytes: Limits.nameBytesPerPart)
                for name in names where wanted.contains(name) && placed.insert(name).inserted { piece.add(name) }
                pieces[number] = piece
            }
            for name in names where !placed.contains(name) { Self.place(name, in: &pieces) }
            parts = pieces.mapValues(\.names).filter { !$0.value.isEmpty }
        }

        /// Puts a name into the first part that has room.
        private static func place(_ name: String, in pieces: inout [UInt8: Piece]) {
            for number in 0..<UInt8(Limits.namePartsPerEndpoint) {
                if pieces[number, default: Piece(names: Limits.namesPerPart, bytes: Limits.nameBytesPerPart)].add(name) { return }
            }
        }
    }

    /// Names within bounds.
    private struct Piece {
        private(set) var names: [String] = []
        private let mostNames: Int
        private var room: Int

        init(names: Int, bytes: Int) {
            mostNames = names
            room = bytes
        }

        @discardableResult
        mutating func add(_ name: String) -> Bool {
            guard names.count < mostNames, name.utf8.count <= room else { return false }
            names.append(name)
            room -= name.utf8.count
            return true
        }
    }
}
