import OverlayDriver
import OverlayModel
import OverlayNode

/// Calls of engines, command lines and joining nodes that wait for an answer, and answers that nobody has taken.
struct PendingCalls {
    private(set) var responses: [RequestID: DriverResponse] = [:]
    private(set) var answers: [RequestID: ControlResponse] = [:]
    /// Continuations by call.
    private var continuations: [RequestID: (DriverResponse) -> Void] = [:]
    /// Joining nodes with their own request, by the request that the contacted node got.
    private var contacts: [RequestID: (node: Int, request: RequestID)] = [:]
    private var next: UInt64 = 1

    mutating func newID() -> RequestID {
        defer { next += 1 }
        return RequestID(next)
    }

    mutating func expect(_ id: RequestID, then next: @escaping (DriverResponse) -> Void) { continuations[id] = next }

    mutating func removeContinuation(_ id: RequestID) -> ((DriverResponse) -> Void)? { continuations.removeValue(forKey: id) }

    mutating func keep(_ response: DriverResponse, of id: RequestID) { responses[id] = response }

    mutating func keep(_ answer: ControlResponse, of id: RequestID) { answers[id] = answer }

    mutating func removeResponse(_ id: RequestID) -> DriverResponse? { responses.removeValue(forKey: id) }

    mutating func removeAnswer(_ id: RequestID) -> ControlResponse? { answers.removeValue(forKey: id) }

    mutating func newContact(from node: Int, _ request: RequestID) -> RequestID {
        let id = newID()
        contacts[id] = (node, request)
        return id
    }

    mutating func removeContact(_ id: RequestID) -> (node: Int, request: RequestID)? { contacts.removeValue(forKey: id) }
}
