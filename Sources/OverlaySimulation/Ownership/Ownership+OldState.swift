import OverlayCatalogue
import OverlayMembership
import OverlayModel
import OverlayNode

/// Rolled-back states, and what peers report about them (Rule R4, see Rules).
///
/// A rollback can only be detected if somebody heard the newer state. So every node that is reachable at the rollback has heard it,
/// one of them runs when the node starts again, and its report arrives before the node has waited long enough. The writer's state
/// is nobody else's to know, so it is never rolled back.
extension Ownership {
    /// Backup of a node's state, with the rest of a snapshot of its machine.
    struct Copy {
        var rows: StoredRows
        var kernel: VirtualKernel
        var containers: [Container]
        var networks: [Int: World.Created]
    }

    static let keptCopies = 4

    /// Mark that the others hear of a running node.
    func mark(of node: Int) -> StateMark {
        let host = world.nodes[node]
        var core = host.core
        let life = core.spoken.life
        return StateMark(life: life, run: host.boot, writes: core.report(for: host.core.identity.id).writes)
    }

    /// Mark that the others would hear first if the node were started now.
    private func markOfStart(_ node: Int) -> StateMark {
        let host = world.nodes[node]
        func number<Value: Wire>(_ name: String, _ none: Value) -> Value {
            host.rows[.node]?[Array(name.utf8)].flatMap { try? Value(wire: $0) } ?? none
        }
        let life = Incarnation(epoch: number("epoch", UInt32(1)), boot: number("boot", UInt32(0)) + 1).life
        return StateMark(life: life, run: host.boot, writes: number("assured", number("writes", UInt64(0))))
    }

    // MARK: Faults

    func crash(_ node: Int, _ kept: Int) {
        let mark = mark(of: node)
        for peer in world.nodes.indices where reach(peer, node) { heard[peer][node].take(mark) }
        world.crash(node, keeping: kept)
        // Loss of a witness before it could report is not simulated.
        for peer in world.nodes.indices {
            let present = world.nodes[peer].isUp ? self.mark(of: peer) : markOfStart(peer)
            if !heard[node][peer].exceeds(present) { heard[node][peer] = .none }
        }
        for index in containers.indices where containers[index].node == node { containers[index].isBusy = false }
        containers.removeAll { $0.node == node && $0.prefix == nil }
    }

    func copy(_ node: Int) {
        guard world.nodes[node].isUp else { return }
        let own = containers.filter { $0.node == node && $0.prefix != nil }
        let host = world.nodes[node]
        copies[node].append(Copy(rows: host.rows, kernel: host.kernel, containers: own, networks: networks[node]))
        if copies[node].count > Self.keptCopies { copies[node].removeFirst() }
    }

    /// - Parameter hostToo: True if the whole machine is rolled back, with its containers.
    func rollBack(_ node: Int, _ choice: Int, hostToo: Bool) {
        guard node != 0, world.nodes[node].isUp, !copies[node].isEmpty,
            world.nodes.indices.contains(where: { reach($0, node) })
        else { return }
        let copy = copies[node].reversed()[choice % copies[node].count]
        lost[node].take(mark(of: node))
        crash(node, 0)
        world.rollBack(node, to: copy.rows)
        guard hostToo else { return }
        world.nodes[node].kernel = copy.kernel
        networks[node] = copy.networks
        let there = containers.filter { $0.node == node }
        containers.removeAll { $0.node == node }
        for var container in copy.containers {
            container.isBusy = false
            if let same = there.first(where: { $0.id == container.id }), same.isAdmitted || !container.isAdmitted {
                container = same
            } else {
                container.isBack = true
                // Whatever epoch the container was made in, its node will think itself in the current one.
                container.epoch = world.nodes[0].core.catalogue.members[World.id(node)]?.epoch ?? container.epoch
            }
            containers.append(container)
        }
    }

    /// - Parameter witnessDelay: Time after the start at which the node is told that its state is old.
    func restart(_ node: Int, _ witnessDelay: Interval) throws {
        let isOld = try isOld(node)
        guard try !isOld || hasWitness(node) else {
            waiting[node] = witnessDelay
            return
        }
        waiting[node] = nil
        try world.restart(node)
        guard isOld else { return }
        world.run(for: witnessDelay)
        tell(node)
    }

    /// True if the node starts with an old state as a member of which others know a newer one. Rule R5 covers removed nodes.
    private func isOld(_ node: Int) throws -> Bool {
        try lost[node].exceeds(markOfStart(node)) && world.nodes[0].core.catalogue.members[World.id(node)] != nil
            && !membersAtStart(node).isEmpty
    }

    /// True if a witness will be there to report to the node.
    private func hasWitness(_ node: Int) throws -> Bool {
        let members = try membersAtStart(node)
        let mark = markOfStart(node)
        return world.nodes.indices.contains { peer in
            world.nodes[peer].isUp && heard[peer][node].exceeds(mark) && members.contains(World.id(peer))
                && world.network.cuts.isDisjoint(with: [.init(node, peer), .init(peer, node)])
        }
    }

    private func membersAtStart(_ node: Int) throws -> Set<NodeID> {
        let catalogue = try CatalogueNode(node: World.id(node), epoch: 1, boot: 1, rows: world.nodes[node].rows).catalogue
        return catalogue.cluster == nil ? [] : Set(catalogue.members.keys)
    }

    /// Gives a node the echoed marks of its peers. A peer that knows a newer mark is heard first, or it might be too late.
    func tell(_ node: Int) {
        let own = mark(of: node)
        let echoes = world.nodes.indices.filter { reach(node, $0) && heard[$0][node] != .none }
            .map { (peer: World.id($0), mark: heard[$0][node], isAhead: heard[$0][node].exceeds(own)) }
        for echo in echoes.filter(\.isAhead) + echoes.filter({ !$0.isAhead }) {
            world.handle(node, .membership(.echo(echo.peer, echo.mark, isAhead: echo.isAhead)))
        }
    }

    // MARK: What must hold

    /// Moves containers to the new epoch of a node that got one without having been removed. It keeps all its containers, including
    /// those that it no longer knows.
    func followRollbacks() {
        let newest = world.nodes[0].core.catalogue
        for index in containers.indices where containers[index].isAdmitted {
            let identity = Identity(node: containers[index].node, epoch: containers[index].epoch)
            guard ends[identity] == nil, let epoch = newest.members[World.id(identity.node)]?.epoch, epoch > identity.epoch else {
                continue
            }
            containers[index].epoch = epoch
        }
    }

    /// True if the node, which knows by now that its state was old, lets the container keep its address.
    func isKept(_ container: Container) -> Bool {
        let engine = world.nodes[container.node].core
        return !engine.isRolledBack && engine.localRecords.contains { $0.endpoint == container.endpoint }
    }
}

extension StateMark {
    /// Mark of the process alone, without its writes.
    var process: StateMark { StateMark(life: life, run: run, writes: 0) }
}
