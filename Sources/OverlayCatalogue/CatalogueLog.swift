import OverlayModel

/// State of the catalogue on this node, with the last entries that led to it, and the writes that keep both in the store.
@usableFromInline
struct CatalogueLog: Sendable {
    /// Number of entries kept in memory for replicas that lag. Older ones are served as a snapshot.
    static let tail = 1024
    /// Number of entries after which the store holds a snapshot instead of them.
    static let entriesPerSnapshot = 256
    static let entriesPerMessage = 64
    /// Key of the snapshot in its table.
    static let snapshotKey: [UInt8] = [0]

    @usableFromInline private(set) var catalogue: Catalogue
    /// The last entries, without gaps up to the state's.
    private var entries: [Entry] = []
    /// Index of the stored snapshot.
    private var storedSnapshot: UInt64

    /// - Parameter rows: The store's rows of the catalogue. Entries after a gap are not used.
    init(rows: StoredRows) throws(DecodeError) {
        var catalogue = Catalogue()
        if let bytes = rows[.catalogueSnapshot]?[Self.snapshotKey] { catalogue = try Catalogue(wire: bytes) }
        storedSnapshot = catalogue.index
        for (_, bytes) in (rows[.catalogueEntry] ?? [:]).sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
            let entry = try Entry(wire: bytes)
            guard entry.index == catalogue.index + 1 else {
                if entry.index <= catalogue.index { continue }
                break
            }
            catalogue.apply(entry)
            entries.append(entry)
        }
        self.catalogue = catalogue
    }

    /// Applies the next entry.
    mutating func apply(_ entry: Entry) -> CommandResult {
        let result = catalogue.apply(entry)
        entries.append(entry)
        if entries.count > 2 * Self.tail { entries.removeFirst(entries.count - Self.tail) }
        return result
    }

    /// Takes a snapshot in place of the state.
    /// - Returns: Writes by which the store holds it, too.
    mutating func replace(_ snapshot: Catalogue) -> [StoreWrite] {
        catalogue = snapshot
        entries = []
        storedSnapshot = snapshot.index
        return [.clear(.catalogueEntry), snapshotWrite]
    }

    /// Forgets everything.
    /// - Returns: Writes by which the store forgets it, too.
    mutating func clear() -> [StoreWrite] {
        catalogue = Catalogue()
        entries = []
        storedSnapshot = 0
        return [.clear(.catalogueEntry), .clear(.catalogueSnapshot)]
    }

    /// Write of the state as a snapshot.
    var snapshotWrite: StoreWrite { .put(.catalogueSnapshot, key: Self.snapshotKey, value: catalogue.wireBytes) }

    /// Replaces the stored entries with a snapshot, if they have become many.
    mutating func compact() -> [StoreWrite]? {
        guard catalogue.index >= storedSnapshot + UInt64(Self.entriesPerSnapshot) else { return nil }
        storedSnapshot = catalogue.index
        return [snapshotWrite, .deleteThrough(.catalogueEntry, key: catalogue.index.wireBytes)]
    }

    /// Answer for a peer that has everything up to a position.
    func answer(after position: CataloguePosition) -> CatalogueMessage {
        // If their last entry is not in this history, the two have parted before it.
        guard let first = entries.first?.index, position.index >= first - 1, position.index <= catalogue.index,
            term(at: position.index) == position.term
        else { return .snapshot(catalogue) }
        return .entries(
            after: position.term, Array(entries[Int(position.index + 1 - first)...].prefix(Self.entriesPerMessage)))
    }

    /// Term of the entry at an index whose successor is in memory, or of the last one.
    private func term(at index: UInt64) -> Term {
        for entry in entries where entry.index > index {
            if case .promote(let last) = entry.command { return last }
        }
        return catalogue.term
    }
}

extension Entry {
    /// Term of this entry if it follows one of the given term; nil if it cannot follow such an entry.
    func term(after last: Term) -> Term? {
        guard case .promote(last) = command else { return termNumber == last.number ? last : nil }
        return termNumber > last.number ? Term(number: termNumber, writer: proposer) : nil
    }

    /// Write of this entry to the store.
    var storeWrite: StoreWrite { .put(.catalogueEntry, key: index.wireBytes, value: wireBytes) }
}
