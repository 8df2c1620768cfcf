import OverlayModel

/// Entries of the writer on their way to the disk. They are numbered here, and applied when they are durable.
struct WriterPipeline: Sendable {
    /// Greatest number of entries in one write.
    static let entriesPerWrite = 256
    /// Size of pushed entries in bytes, so that each message fits a datagram with its seal.
    static let pushBytes = 1000

    /// Entries that wait for the disk, in order. While one batch is being written, new entries make up the next one.
    private var staged: [Entry] = []
    private var writing: (token: UInt64, entries: [Entry])?
    private var nextToken: UInt64 = 1
    /// Index of the last entry that was numbered; without such entries that of the state.
    private(set) var lastIndex: UInt64
    /// True if a peer knows of entries that this writer does not have: its state is an old one. It commits nothing, or there would be
    /// two histories.
    var isBehind = false
    /// This node's promotion, while it is being written.
    private(set) var promotion: CatalogueNode.ProposalID?

    /// - Parameter index: Index of the state.
    init(index: UInt64) { lastIndex = index }

    /// True if this proposal, or a later one of its proposer, is on its way.
    func holds(_ sequence: UInt64, from proposer: NodeID) -> Bool {
        func isLater(_ entry: Entry) -> Bool { entry.proposer == proposer && entry.sequence >= sequence }
        return staged.contains(where: isLater) || writing?.entries.contains(where: isLater) == true
    }

    /// True if a node that does not speak a version is on its way to be a member.
    func admits(below version: UInt16) -> Bool {
        (staged + (writing?.entries ?? [])).contains { entry in
            if case .admit(let member) = entry.command { member.versions.newest < version } else { false }
        }
    }

    /// Numbers a proposal as the next entry and writes it as soon as the disk is free.
    mutating func stage(
        _ command: Command, from proposer: NodeID, epoch: UInt32, sequence: UInt64, termNumber: UInt64,
        into effects: inout [CatalogueNode.Effect]
    ) {
        lastIndex += 1
        staged.append(
            Entry(
                index: lastIndex, termNumber: termNumber, proposer: proposer, epoch: epoch, sequence: sequence, command: command))
        writeNext(into: &effects)
    }

    /// Writes what is staged, unless a write is under way.
    mutating func writeNext(into effects: inout [CatalogueNode.Effect]) {
        guard writing == nil, !staged.isEmpty else { return }
        let batch = Array(staged.prefix(Self.entriesPerWrite))
        staged.removeFirst(batch.count)
        write(batch, batch.map(\.storeWrite), into: &effects)
    }

    /// Writes the entry that makes this node the writer, together with the state before it.
    /// - Precondition: Nothing is on its way.
    mutating func promote(
        _ id: CatalogueNode.ProposalID, with entry: Entry, state: [StoreWrite], into effects: inout [CatalogueNode.Effect]
    ) {
        promotion = id
        lastIndex = entry.index
        write([entry], state + [entry.storeWrite], into: &effects)
    }

    private mutating func write(_ entries: [Entry], _ writes: [StoreWrite], into effects: inout [CatalogueNode.Effect]) {
        // A token of its own, because an index is given twice when the first attempt failed.
        writing = (nextToken, entries)
        effects.append(.store(token: nextToken, writes))
        nextToken += 1
    }

    func isWriting(_ token: UInt64) -> Bool { writing?.token == token }

    /// Takes out the entries that were written.
    mutating func takeWritten() -> [Entry] {
        defer { writing = nil }
        return writing?.entries ?? []
    }

    /// Ends the promotion, if one is under way, and returns it.
    mutating func takePromotion() -> CatalogueNode.ProposalID? {
        defer { promotion = nil }
        return promotion
    }

    /// Takes back everything that is on its way to the disk. The next entry follows the state again.
    /// - Parameter index: Index of the state.
    /// - Returns: The entries that were taken back.
    @discardableResult
    mutating func abandon(at index: UInt64, into effects: inout [CatalogueNode.Effect]) -> [Entry] {
        let dropped = (writing?.entries ?? []) + staged
        reset(to: index)
        guard !dropped.isEmpty else { return [] }
        // Some may have been written after all. They must not be found at the next start.
        effects.append(.store(token: nil, dropped.map { .delete(.catalogueEntry, key: $0.index.wireBytes) }))
        return dropped
    }

    /// Forgets everything that is on its way, and leaves the store as it is.
    mutating func reset(to index: UInt64) {
        writing = nil
        staged = []
        lastIndex = index
    }

    /// Takes note that the state moved on by entries of others.
    mutating func follow(to index: UInt64) { lastIndex = index }

    /// Divides entries into messages that each fit a datagram, if a single entry does.
    static func pushes(of entries: [Entry]) -> [[Entry]] {
        var parts: [[Entry]] = []
        var bytes = 0
        for entry in entries {
            let size = entry.wireBytes.count
            if parts.isEmpty || bytes + size > Self.pushBytes {
                parts.append([])
                bytes = 0
            }
            parts[parts.count - 1].append(entry)
            bytes += size
        }
        return parts
    }
}
