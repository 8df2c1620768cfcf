import OverlayModel

/// What a proposal is for.
enum Purpose: Sendable {
    case request(RequestID)
    case claim(SubnetID)
    case close(SubnetID)
    case handOver(Handover)
    /// This host's own entry.
    case own
    /// What engines call a network.
    case description(EngineNetworkID)
    case rotation
    /// Addresses of removed nodes leave quarantine.
    case quarantine
    /// This node becomes the writer.
    case promotion(RequestID)
    /// A new epoch, after a rollback was detected.
    case rollback
}
