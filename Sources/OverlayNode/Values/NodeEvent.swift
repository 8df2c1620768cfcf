public import OverlayCatalogue
public import OverlayDNS
public import OverlayDatapath
public import OverlayDriver
public import OverlayMembership
public import OverlayModel

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
