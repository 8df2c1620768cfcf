import OverlayModel

/// What was given to the store, in order, and what of it the store refused.
///
/// The core goes by what it knows, and a disk that was full for a moment must not make a start later on know less: rows that were refused
/// go in front of the next ones, in one transaction with them. Until they are through there is one transaction at a time, so that nothing
/// newer can be written before them, and nothing older over it. Proposals of the writer are the exception: what was refused of these has
/// never been.
struct StoreLedger: Sendable {
    struct Submission: Sendable {
        var id: EffectID
        var rows: [StoreWrite]
        var isProposal: Bool
    }

    private var underWay: [Submission] = []
    private var waiting: [Submission] = []
    /// What the store lacks.
    private var missing: [StoreWrite] = []
    /// Which submission has what is missing in front of its own rows.
    private var carrier: EffectID?

    /// Does the store have all that it was given, or has it under way?
    var isWhole: Bool { missing.isEmpty }
    var isIdle: Bool { underWay.isEmpty && waiting.isEmpty }

    /// - Returns: What to give to the store now.
    mutating func submit(_ submission: Submission) -> [Submission] {
        waiting.append(submission)
        return next()
    }

    /// The store has taken a submission, or has not. They end in the order in which they were given.
    mutating func ended(_ id: EffectID, isStored: Bool) -> [Submission] {
        guard let index = underWay.firstIndex(where: { $0.id == id }) else { return [] }
        let submission = underWay.remove(at: index)
        if isStored, carrier == id {
            missing = []
        } else if isStored ? !isWhole : !submission.isProposal {
            // What was taken after something was refused is repeated behind it: the order counts.
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

    /// Of each row only the last word is kept.
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

    /// Of the one row that it is about.
    fileprivate func key(in space: StoreSpace) -> [UInt8]? {
        switch self {
        case .put(space, let key, _), .delete(space, let key): key
        default: nil
        }
    }

    fileprivate func isOf(_ space: StoreSpace, _ key: [UInt8]) -> Bool { self.key(in: space) == key }
}
