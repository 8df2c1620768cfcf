import OverlayModel

/// Purpose of a proposal, by which its outcome is handled.
enum Purpose: Sendable {
    case request(RequestID)
    case claim(SubnetID)
    case close(SubnetID)
    case handOver(Handover)
    /// This node's own entry has changed.
    case own
    /// Description of a network of this engine.
    case description(EngineNetworkID)
    /// Use of a subnet of the network that this one of the engine adopts.
    case adoption(EngineNetworkID)
    /// The next gossip key.
    case rotation
    /// Addresses of removed nodes leave quarantine.
    case quarantine
    /// A version of the protocol that every member speaks is used.
    case version
    /// This node becomes the writer.
    case promotion(RequestID)
    /// A new epoch, after a rollback was detected.
    case rollback
}
