public import OverlayCatalogue
public import OverlayDNS
public import OverlayDatapath
public import OverlayDriver
public import OverlayMembership
public import OverlayModel

/// Names one call from the outside; the shell gives it out and gets exactly one answer for it.
public struct RequestID: Hashable, Sendable {
    public let value: UInt64
    public init(_ value: UInt64) { self.value = value }
}

/// Names one effect whose end the node core waits for.
public struct EffectID: Hashable, Comparable, Sendable {
    public let value: UInt64
    public static func < (lhs: EffectID, rhs: EffectID) -> Bool { lhs.value < rhs.value }
}

/// Everything that can happen to a node.
public enum NodeEvent: Sendable {
    /// The first event of a life.
    case start
    case driver(RequestID, DriverRequest)
    case control(RequestID, ControlRequest)
    /// A message of an authenticated member.
    case message(from: NodeID, [UInt8], MessagePath)
    /// Result of a stream to a member: nil when it was opened.
    case stream(NodeID, StreamFailure?)
    /// An authentic packet of a member from a life of it that is over.
    case earlierLife(of: NodeID)
    /// Finding of a membership that is not this node's own: simulations without membership say by it who is there.
    case membership(Membership.Effect)
    /// A packet in the name of a node that is no member; who really sent it is not known.
    case stranger(NodeID, SocketEndpoint)
    /// What came with a notice, of anybody.
    case notice([UInt8])
    /// Somebody who knows the join secret asks to be a member.
    case joinRequest(RequestID, Member)
    /// The answer to ``NodeEffect/contact(_:_:)``.
    case joinAnswer(RequestID, JoinAnswer)
    case applied(EffectID, KernelOutcome)
    case stored(EffectID, StoreOutcome)
    case observed(EffectID, ObservedState)
    /// 32 random bytes.
    case keyMade([UInt8])
    /// What the engine's API tells unasked, and answers.
    case engineNews(EngineAPINews)
    case engineAnswer(EffectID, EngineAPIAnswer)
    /// Questions of a sandbox are answered, or it is not there yet: nothing more is to be waited for.
    case served(EffectID)
    /// How it is with the questions of a sandbox: why they are not answered here, or nil.
    case sandbox(String, failure: String?)
    /// A sandbox is there no more.
    case sandboxGone(String)
    /// The kernel could not be read: why.
    case notObserved(EffectID, String)
    /// Something else changed our namespaces.
    case foreignChange
    /// ``Node/nextDeadline`` has come.
    case tick
}

public enum StoreOutcome: Hashable, Sendable {
    case stored
    /// What the store said, and what the user can do.
    case failed(String)
}

public enum JoinAnswer: Hashable, Sendable {
    case admitted(Catalogue)
    /// Refused, or not reached: why, for the user.
    case refused(String)
}

/// Everything a node does to the outside.
public enum NodeEffect: Sendable {
    case respond(RequestID, DriverResponse)
    case answer(RequestID, ControlResponse)
    case send(NodeID, [UInt8], MessagePath)
    /// One transaction. Effects of a kind are carried out in their order.
    case store(EffectID, [StoreWrite])
    /// One ordered batch.
    case apply(EffectID, [KernelOperation])
    case observe(EffectID)
    /// The members, and the keys of packets between them, the newest first; none outside a cluster.
    case peers([Member], keys: [GossipKey])
    /// A call of the engine's own API, which is never in the way of anything.
    case engineCall(EffectID, EngineAPICall)
    /// The names of a network; nil: it is of no concern here any more.
    case names(NetworkID, NetworkNames?)
    /// All subnets of the cluster.
    case subnets([IPPrefix])
    /// Questions of the sandbox at a path are to be answered from now on, with what is in its scope.
    case serve(EffectID, String, SandboxScope)
    /// No more.
    case unserve(String)
    /// 32 random bytes are wanted, of a quality that a core does not have; they come with ``NodeEvent/keyMade(_:)``.
    case makeKey
    /// One datagram, not sealed, to who is no member any more.
    case notify(SocketEndpoint, [UInt8])
    /// Peers have seen starts of this daemon up to below this one. Counters that must never be used twice go on from it.
    case raiseBoot(UInt32)
    /// Ask the node at an address for admission of `Member`.
    case contact(RequestID, JoinContact)
    /// The answer to ``NodeEvent/joinRequest(_:_:)``.
    case admit(RequestID, JoinAnswer)
    case log(LogLevel, String, [String: String])
}

public struct JoinContact: Hashable, Sendable {
    /// A name or an address, as the user typed it.
    public var host: String
    public var port: UInt16
    /// Of the cluster's key, 20 bytes.
    public var pin: [UInt8]
    /// 16 bytes. Never logged.
    public var secret: [UInt8]
    public var member: Member
}

public enum LogLevel: Sendable {
    case debug, info, warning, error
}

/// The plaintext of a join's answer.
extension JoinAnswer: Wire {
    public init(from reader: inout ByteReader) throws(DecodeError) {
        switch try reader.byte() {
        case 1: self = .admitted(try reader.value())
        case 2: self = .refused(try reader.string(limit: 4096))
        default: throw .invalid("join answer")
        }
    }

    public func encode(to writer: inout ByteWriter) {
        switch self {
        case .admitted(let catalogue):
            writer.byte(1)
            writer.value(catalogue)
        case .refused(let reason):
            writer.byte(2)
            writer.string(reason)
        }
    }
}
