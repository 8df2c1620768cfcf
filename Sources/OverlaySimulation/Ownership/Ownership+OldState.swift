import OverlayCatalogue
import OverlayNode
import OverlayMembership
import OverlayModel

/// States that are put back to what they once were, and what of it the others tell (rule R4).
///
/// Nothing shows that a state is of old where nobody heard the newer one; so whoever reaches a node when its state is rolled back has
/// heard it, one of them is there when it starts again, and is heard before the node has waited long enough. The writer has nobody who
/// knows its state better, and is left alone.
extension Ownership {
    /// A backup of a node's state, and what else is in a snapshot of its machine.
    struct Copy {
        var rows: StoredRows
        var kernel: VirtualKernel
        var containers: [Container]
        var networks: [Int: World.Created]
    }

    static let keptCopies = 4

    /// What the others hear of a node that runs.
    func mark(of node: Int) -> StateMark {
        let host = world.nodes[node]
        var core = host.core
        let life = Incarnation(epoch: core.spokenEpoch, boot: core.boot).life
        return StateMark(life: life, run: host.boot, writes: core.report(for: host.core.identity.id).writes)
    }

    /// What they would hear of it first, were it started now.
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
        // That a witness dies as long as it is needed is not played.
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

    /// - Parameter hostToo: Whether all of the machine goes back, its containers with it.
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
                // Of whatever life it was: it is this one's that the node will know itself in.
                container.epoch = world.nodes[0].core.catalogue.members[World.id(node)]?.epoch ?? container.epoch
            }
            containers.append(container)
        }
    }

    /// - Parameter word: A node whose state is of old is told so after this.
    func restart(_ node: Int, _ word: Interval) throws {
        let isOld = try isOld(node)
        guard try !isOld || hasWitness(node) else {
            waiting[node] = word
            return
        }
        waiting[node] = nil
        try world.restart(node)
        guard isOld else { return }
        world.run(for: word)
        tell(node)
    }

    /// Does it start with a state of old, as a member that others know better? One that was removed is rule R5's to deal with.
    private func isOld(_ node: Int) throws -> Bool {
        try lost[node].exceeds(markOfStart(node)) && world.nodes[0].core.catalogue.members[World.id(node)] != nil
            && !membersAtStart(node).isEmpty
    }

    /// Will somebody be there to tell it?
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

    /// A node hears of its peers what they heard of it; who knows more is heard first, as it would not be in time otherwise.
    func tell(_ node: Int) {
        let own = mark(of: node)
        let echoes = world.nodes.indices.filter { reach(node, $0) && heard[$0][node] != .none }
            .map { (peer: World.id($0), mark: heard[$0][node], isAhead: heard[$0][node].exceeds(own)) }
        for echo in echoes.filter(\.isAhead) + echoes.filter({ !$0.isAhead }) {
            world.handle(node, .membership(.echo(echo.peer, echo.mark, isAhead: echo.isAhead)))
        }
    }

    // MARK: What must hold

    /// A node that was given a new epoch without having been removed goes on, with all of its containers: those that it does not know of
    /// any more too.
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

    /// Has its node, which knows by now that its state was of old, let it keep its address?
    func isKept(_ container: Container) -> Bool {
        let engine = world.nodes[container.node].core
        return !engine.isStateOld && engine.localRecords.contains { $0.endpoint == container.endpoint }
    }
}

extension StateMark {
    /// Which process it is of, in which life.
    var process: StateMark { StateMark(life: life, run: run, writes: 0) }
}
