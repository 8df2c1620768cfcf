import OverlayModel

/// Ledger of the rows that were given to the store, in order, and of those that the store refused.
///
/// The node goes on with what it knows, so rows that a full disk refused must be written later: they go in front of the next rows,
/// in one transaction with them. Until that is done there is one transaction at a time, so that no newer row is written before
/// them, and no older one after it. Rows of the writer's proposals are the exception: a proposal that was refused is void.
struct StoreLedger: Sendable {
    struct Submission: Sendable {
        var id: EffectID
        var rows: [StoreWrite]
        var isProposal: Bool
    }

    private var underWay: [Submission] = []
    private var waiting: [Submission] = []
    /// Rows that the store lacks.
    private var missing: [StoreWrite] = []
    /// Submission that has the missing rows in front of its own.
    private var carrier: EffectID?

    /// True if the store has all that it was given, or has it under way.
    var isWhole: Bool { missing.isEmpty }
    var isIdle: Bool { underWay.isEmpty && waiting.isEmpty }

    /// Adds a submission.
    ///
    /// - Returns: The submissions to give to the store now.
    mutating func submit(_ submission: Submission) -> [Submission] {
        waiting.append(submission)
        return next()
    }

    /// Takes note of the end of a submission. Submissions end in the order in which they were given.
    ///
    /// - Returns: The submissions to give to the store now.
    mutating func ended(_ id: EffectID, isStored: Bool) -> [Submission] {
        guard let index = underWay.firstIndex(where: { $0.id == id }) else { return [] }
        let submission = underWay.remove(at: index)
        if isStored, carrier == id {
            missing = []
        } else if isStored ? !isWhole : !submission.isProposal {
            // Rows that were taken after a refusal are repeated behind the refused ones, as the order counts.
            for row in submission.rows { add(row) }
        }
        if carrier == id { carrier = nil }
        return next()
    }

    private mutating func next() -> [Submission] {
        if isWhole {
            defer { waiting = [] }
            underWay += waiting
            return waiting
        }
        guard underWay.isEmpty, !waiting.isEmpty else { return [] }
        let submission = waiting.removeFirst()
        underWay = [submission]
        carrier = submission.id
        var whole = submission
        whole.rows = missing + submission.rows
        return [whole]
    }

    /// Adds a missing row in the place of earlier writes of the same row.
    private mutating func add(_ row: StoreWrite) {
        switch row {
        case .put(let space, let key, _), .delete(let space, let key): missing.removeAll { $0.isOf(space, key) }
        case .deleteThrough(let space, let limit):
            missing.removeAll { earlier in
                guard let key = earlier.key(in: space) else { return false }
                return key == limit || key.lexicographicallyPrecedes(limit)
            }
        case .clear(let space): missing.removeAll { $0.space == space }
        }
        missing.append(row)
    }
}

extension StoreWrite {
    var space: StoreSpace {
        switch self {
        case .put(let space, _, _), .delete(let space, _), .deleteThrough(let space, _), .clear(let space): space
        }
    }

    /// Key of the one row in a space that it writes; nil for other spaces and for several rows.
    fileprivate func key(in space: StoreSpace) -> [UInt8]? {
        switch self {
        case .put(space, let key, _), .delete(space, let key): key
        default: nil
        }
    }

    fileprivate func isOf(_ space: StoreSpace, _ key: [UInt8]) -> Bool { self.key(in: space) == key }
}
