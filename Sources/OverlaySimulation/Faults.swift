public import OverlayModel

/// Faults of the network that end by themselves.
extension World {
    /// Ends all faults of the network, of clocks and of disks. Stalled and crashed nodes stay so.
    public func heal() {
        network.heal()
        network.loss = 0
        network.streamLoss = 0
        network.duplication = 0
        network.jitter = Interval(nanoseconds: 0)
        network.ingressLoss = [:]
        faults.endAll(at: now)
        for index in nodes.indices {
            setClockRate(index, 1)
            nodes[index].failsStores = false
            nodes[index].trouble = min(nodes[index].trouble, nodes[index].stalledUntil ?? now)
        }
        log("all is well again")
    }

    /// Cuts the first `count` nodes off from the others, both ways.
    public func split(_ count: Int, for interval: Interval? = nil) {
        split(Array(nodes.indices.prefix(count)), Array(nodes.indices.dropFirst(count)), for: interval)
    }

    public func split(_ left: [Int], _ right: [Int], for interval: Interval? = nil) {
        var links: Set<VirtualNetwork.Link> = []
        for a in left { for b in right { links.formUnion([.init(a, b), .init(b, a)]) } }
        log("split: \(left.map { $0 + 1 }) from \(right.map { $0 + 1 })")
        cut(links, for: interval)
    }

    /// Cuts the way from one node to another. The way back stays open.
    public func cutOneWay(_ from: Int, _ to: Int, for interval: Interval? = nil) {
        guard from != to else { return }
        log("cut: host\(from + 1) → host\(to + 1)")
        cut([.init(from, to)], for: interval)
    }

    private func cut(_ links: Set<VirtualNetwork.Link>, for interval: Interval?) {
        hold(links, in: \.cuts, for: interval)
        faults.excuse(links, until: now + (interval ?? .seconds(1_000_000)))
        guard let interval else { return }
        after(interval) { $0.log("passes again: \(links.count) links") }
    }

    public func cutDatagrams(of host: Int, for interval: Interval) {
        let links = links(of: host)
        log("UDP of host\(host + 1) is blocked")
        // With TCP blocked too, the host can neither hear nor be heard.
        if !network.streamCuts.isDisjoint(with: links) { faults.excuse(links, until: now + interval) }
        hold(links, in: \.datagramCuts, for: interval)
    }

    public func cutStreams(of host: Int, for interval: Interval) {
        let links = links(of: host)
        log("TCP of host\(host + 1) is blocked")
        if !network.datagramCuts.isDisjoint(with: links) || network.loss > 0.3 { faults.excuse(links, until: now + interval) }
        hold(links, in: \.streamCuts, for: interval)
    }

    /// Cuts links, and lets them pass again when no other fault holds them.
    private func hold(
        _ links: Set<VirtualNetwork.Link>, in kind: WritableKeyPath<VirtualNetwork, Set<VirtualNetwork.Link>>,
        for interval: Interval?
    ) {
        network[keyPath: kind].formUnion(links)
        faults.hold(links, in: kind)
        guard let interval else { return }
        let era = faults.era
        after(interval) { world in
            // All faults have ended meanwhile, this one included.
            guard world.faults.era == era else { return }
            world.network[keyPath: kind].subtract(world.faults.release(links, in: kind))
        }
    }

    private func links(of host: Int) -> Set<VirtualNetwork.Link> {
        Set(nodes.indices.filter { $0 != host }.flatMap { [VirtualNetwork.Link($0, host), .init(host, $0)] })
    }

    /// Loses this share of all datagrams, and a tenth of it of stream segments.
    public func setLoss(_ share: Double, for interval: Interval) {
        log("loss \(share)")
        network.loss = share
        network.streamLoss = share / 10
        faults.lossEnds = now + interval
        after(interval) { world in
            guard world.now >= world.faults.lossEnds else { return }
            world.network.loss = 0
            world.network.streamLoss = 0
        }
    }

    /// Duplicates datagrams and lets later ones overtake earlier ones.
    public func setDisorder(for interval: Interval) {
        log("duplicates and disorder")
        network.duplication = 0.1
        network.jitter = .milliseconds(100)
        faults.disorderEnds = max(faults.disorderEnds, now + interval)
        after(interval) { world in
            guard world.now >= world.faults.disorderEnds else { return }
            world.network.duplication = 0
            world.network.jitter = Interval(nanoseconds: 0)
        }
    }

    /// Makes the disk of a node refuse writes.
    public func refuseWrites(_ host: Int, for interval: Interval) {
        log("the disk of host\(host + 1) takes no more")
        nodes[host].failsStores = true
        faults.refuseWrites(host)
        let era = faults.era
        after(interval) { world in
            guard world.faults.era == era else { return }
            if world.faults.acceptWrites(host) { world.nodes[host].failsStores = false }
        }
    }
}
