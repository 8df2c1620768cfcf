import OverlayModel

/// Questions of one sandbox that wait until more is known.
struct HeldQuestions: Sendable {
    /// Time that a question waits at most.
    static let patience = Interval.milliseconds(300)
    /// Number of questions that wait at most; further ones are decided at once.
    static let limit = 256

    struct Question: Sendable {
        var message: [UInt8]
        var query: DNSQuery
        var client: DNSClient
        var since: Instant

        func mayWait(at now: Instant) -> Bool { now - since < HeldQuestions.patience }
    }

    private var questions: [Question] = []

    var isEmpty: Bool { questions.isEmpty }

    /// Holds a question; false where there is no room.
    mutating func hold(_ question: Question) -> Bool {
        guard questions.count < Self.limit else { return false }
        questions.append(question)
        return true
    }

    func isAwaited(by connection: UInt64) -> Bool { questions.contains { $0.client == .connection(connection) } }

    mutating func takeAll() -> [Question] {
        defer { questions = [] }
        return questions
    }
}
