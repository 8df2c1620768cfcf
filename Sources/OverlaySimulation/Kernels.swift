import OverlayDatapath
public import OverlayModel
import OverlayNode

/// Kernels of the hosts: what nodes ask of them, and what others do to them.
enum Kernels {
    /// Carries out an effect that reads the kernel, or makes a port again.
    static func carryOut(_ effect: NodeEffect, in world: World, on index: Int) {
        let event: NodeEvent
        switch effect {
        case .observe(let id, let sandboxes):
            var state = world.nodes[index].kernel.state
            state.missingSandboxes = world.nodes[index].kernel.missing(sandboxes)
            event = .observed(id, state)
        case .look(let id, let vni): event = .seen(id, world.nodes[index].kernel.look(vni))
        case .restore(let id, let lost): event = .restored(id, world.nodes[index].kernel.restore(lost))
        default: return
        }
        world.schedule(.event(index, boot: world.nodes[index].boot, event), in: .microseconds(100))
    }
}

extension Drift {
    /// Another program changes something of a network in the kernel of a host, which tells of it.
    public static func happen(_ drift: Drift, in world: World, on index: Int, _ vni: VNI) {
        let hasEffect = world.nodes[index].kernel.suffer(drift, on: vni)
        world.log("host\(index + 1), VNI \(vni): \(drift)\(hasEffect ? "" : ", without effect")")
        // As the shell does, which waits until the changes of a moment are over.
        let delay = Interval.milliseconds(Int64(20 + world.random.below(200)))
        world.schedule(.event(index, boot: world.nodes[index].boot, .changed(.network(vni))), in: delay)
    }

    /// Something random of a random network on a host is changed.
    static func happenSomewhere(in world: World, on index: Int) {
        guard let vni = world.random.pick(world.nodes[index].kernel.state.networks.keys.sorted()) else { return }
        let kinds = Drift.kinds(world.nodes[index].kernel.state.networks[vni], random: &world.random)
        if let drift = world.random.pick(kinds) { happen(drift, in: world, on: index, vni) }
    }
}
