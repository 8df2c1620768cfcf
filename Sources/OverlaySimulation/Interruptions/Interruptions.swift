import OverlayModel
import OverlayNode

/// Counts the boundaries that the nodes of a world pass during an operation, and lets a daemon die at one of them.
final class Interruptions {
    private unowned let world: World
    /// Node on which the operation is called.
    private let actor: Int
    private let operation: String
    /// Boundary at which the daemon dies; nil to count only.
    private let target: Boundary?
    /// True while the operation is under way.
    var isOpen = false
    /// Boundaries that were passed, in order.
    private(set) var passed: [Boundary] = []
    /// Node whose daemon died; nil until then.
    private(set) var victim: Int?
    private var numbers: [String: Int] = [:]
    /// Transaction at whose end the daemon dies.
    private var transaction: (node: Int, id: EffectID, isKept: Bool)?

    init(_ world: World, operation: String, actor: Int, target: Boundary?) {
        self.world = world
        self.operation = operation
        self.actor = actor
        self.target = target
    }

    /// Notes an effect that is about to be carried out.
    ///
    /// - Returns: True if the daemon died of it. Its other effects are void then.
    func strike(_ node: Int, _ effect: NodeEffect) -> Bool {
        guard isOpen, victim == nil else { return false }
        let (kind, phases) = effect.interruptions
        guard !phases.isEmpty else { return false }
        let role = role(of: node)
        let call = world.docker.callFaults.last[actor] ?? ""
        let place = call.isEmpty ? operation : "\(operation): \(call)"
        let number = numbers["\(place)\(role)\(kind)", default: 0] + 1
        numbers["\(place)\(role)\(kind)"] = number
        let disks: [Boundary.Disk] = world.nodes[node].disk.unsynced.isEmpty ? [.none] : [.lost, .kept]
        for phase in phases {
            let isEnd = phase == .uncommitted || phase == .committed
            for disk in isEnd ? [.none] : disks {
                let boundary = Boundary(
                    operation: place, role: role, effect: "\(kind) \(number)", phase: phase, disk: disk)
                passed.append(boundary)
                guard boundary == target else { continue }
                if isEnd, case .store(let id, _) = effect {
                    transaction = (node, id, phase == .committed)
                } else {
                    end(node, effect, phase, isKept: disk == .kept)
                    return true
                }
            }
        }
        return false
    }

    /// Notes a transaction that is about to be on the disk.
    ///
    /// - Returns: True if the daemon died of it.
    func strike(_ node: Int, endOf id: EffectID) -> Bool {
        guard let transaction, transaction.node == node, transaction.id == id else { return false }
        self.transaction = nil
        // A daemon that dies after the operation would not be started again.
        guard isOpen else { return false }
        victim = node
        world.crash(node, keeping: transaction.isKept ? 1 : 0)
        return true
    }

    private func end(_ node: Int, _ effect: NodeEffect, _ phase: Boundary.Phase, isKept: Bool) {
        victim = node
        var reply: (() -> Void)?
        switch phase {
        case .before, .uncommitted, .committed: break
        case .partly(let count):
            if case .apply(_, let operations) = effect {
                _ = world.nodes[node].kernel.apply(Array(operations.prefix(count)))
                world.onApply?(node, Array(operations.prefix(count)))
            }
        case .after:
            // The reply is on its way, so that the engine has it although the daemon dies.
            if case .respond(let id, let response) = effect, let next = world.docker.takeCall(node, id) {
                reply = { next(response) }
            } else {
                world.carryOut(node, effect)
            }
        }
        world.crash(node, keeping: isKept ? world.nodes[node].disk.unsynced.count : 0)
        if let reply { world.after(Interval(nanoseconds: 0)) { _ in reply() } }
    }

    private func role(of node: Int) -> String {
        let isWriter = world.nodes[node].core.isCatalogueWriter
        return (node == actor ? "actor" : "other") + (isWriter ? ", writer" : "")
    }
}
