import OverlayDatapath
public import OverlayModel
import OverlayNode

/// Kernels of the hosts: what nodes ask of them, and what others do to them.
extension World {
    /// Carries out an effect that reads the kernel, or makes a port again.
    func carryOut(_ index: Int, ofKernel effect: NodeEffect) {
        let event: NodeEvent
        switch effect {
        case .observe(let id, let sandboxes):
            var state = nodes[index].kernel.state
            state.missingSandboxes = nodes[index].kernel.missing(sandboxes)
            event = .observed(id, state)
        case .look(let id, let vni): event = .seen(id, nodes[index].kernel.look(vni))
        case .restore(let id, let lost): event = .restored(id, nodes[index].kernel.restore(lost))
        default: return
        }
        schedule(.event(index, boot: nodes[index].boot, event), in: .microseconds(100))
    }

    /// Another program changes something of a network in the kernel of a host, which tells of it.
    public func drift(_ index: Int, _ vni: VNI, _ drift: Drift) {
        let now = nodes[index].kernel.suffer(drift, on: vni)
        log("host\(index + 1), VNI \(vni): \(drift)\(now ? "" : ", without effect")")
        // As the shell does, which waits until the changes of a moment are over.
        schedule(
            .event(index, boot: nodes[index].boot, .changed(.network(vni))), in: .milliseconds(Int64(20 + random.below(200))))
    }

    /// Something random of a random network on a host is changed.
    public func driftSomewhere(_ index: Int) {
        guard let vni = random.pick(nodes[index].kernel.state.networks.keys.sorted()) else { return }
        let state = nodes[index].kernel.state.networks[vni]
        let kinds = Drift.kinds(state, random: &random)
        if let drift = random.pick(kinds) { self.drift(index, vni, drift) }
    }
}
