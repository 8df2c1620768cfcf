import OverlayCatalogue
import OverlayModel

/// Proposals of this node that are not decided, and what each of them is for.
struct Proposals: Sendable {
    /// Budget for the catalogue writer's answer, within that of a call.
    static let budget = Interval.seconds(6)

    private var purposes: [CatalogueNode.ProposalID: Purpose] = [:]
    /// The catalogue's tokens of writes, by the effect that stores them.
    private var tokens: [EffectID: UInt64] = [:]

    var isEmpty: Bool { purposes.isEmpty }

    mutating func add(_ id: CatalogueNode.ProposalID, for purpose: Purpose) { purposes[id] = purpose }
    mutating func take(_ id: CatalogueNode.ProposalID) -> Purpose? { purposes.removeValue(forKey: id) }

    func contains(where isMeant: (Purpose) -> Bool) -> Bool { purposes.values.contains(where: isMeant) }

    /// Subnets that are proposed to be closed.
    var closings: Set<SubnetID> { Set(purposes.values.compactMap { if case .close(let id) = $0 { id } else { nil } }) }

    /// Addresses that are proposed to be handed over.
    var handovers: Set<Handover> {
        Set(purposes.values.compactMap { if case .handOver(let handover) = $0 { handover } else { nil } })
    }

    /// Proposals of calls, in their order.
    var ofRequests: [(proposal: CatalogueNode.ProposalID, request: RequestID)] {
        purposes.sorted { $0.key.value < $1.key.value }.compactMap { proposal, purpose in
            if case .request(let request) = purpose { (proposal, request) } else { nil }
        }
    }

    mutating func keep(_ token: UInt64, of effect: EffectID) { tokens[effect] = token }
    mutating func takeToken(of effect: EffectID) -> UInt64? { tokens.removeValue(forKey: effect) }
}
