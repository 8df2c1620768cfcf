import OverlayDriver
import OverlayModel
import OverlayNode

/// Interface of a container, as an engine keeps it in its own store.
struct EngineAttachment {
    var attached: World.Attached
    var container: ContainerID
    var name: String
    var sandbox: String
    /// True from the end of Join on.
    var isJoined = false
    /// True if the container has ended, and its endpoint is still to be deleted.
    var hasEnded = false
}

/// Commands about containers that do not wait. Each call is made when the answer to the one before has come, and what a refusal
/// leaves is taken back in the order of libnetwork (`sbJoin`, `Endpoint.Delete`).
extension VirtualDocker {
    /// `docker run --network`
    ///
    /// - Parameters:
    ///   - address: `--ip`
    ///   - done: Called with the endpoint; with nil if it failed.
    func begin(
        run name: String, _ index: Int, on id: EngineNetworkID, address: IPAddress? = nil,
        then done: @escaping (EngineAttachment?) -> Void
    ) {
        guard let engine = engines[index], engine.isUp, !engine.removing.contains(id),
            engine.networks[id] != nil, let pool = engine.pools[id],
            let container = ContainerID(World.networkID(index, "container \(name)").text)
        else { return done(nil) }
        engines[index]?.started += 1
        // Each start has an endpoint and a MAC of its own.
        let title = "\(name) \(index) \(engine.started)"
        let mac = World.mac(title)
        ask(index, .requestAddress(RequestAddress(pool: pool, address: address, purpose: .endpoint(mac)))) {
            [unowned self] answer in
            guard case .address(let given) = answer else { return done(nil) }
            let endpoint = World.endpointID(title)
            let attached = World.Attached(endpoint: endpoint, network: id, pool: pool, address: given.address, mac: mac)
            let entry = EngineAttachment(
                attached: attached, container: container, name: name, sandbox: "/run/docker/netns/" + endpoint.short)
            let create = CreateEndpoint(network: id, endpoint: endpoint, v4: given, v6: nil, mac: mac, options: [:])
            ask(index, .createEndpoint(create)) { [unowned self] answer in
                if case .failed = answer {
                    return ask(index, .releaseAddress(pool, given.address)) { _ in done(nil) }
                }
                engines[index]?.endpoints[endpoint] = (id, name)
                engines[index]?.addresses[endpoint] = [given.address]
                engines[index]?.attached[endpoint] = entry
                join(index, entry, then: done)
            }
        }
    }

    private func join(_ index: Int, _ entry: EngineAttachment, then done: @escaping (EngineAttachment?) -> Void) {
        let attached = entry.attached
        let call = Join(network: attached.network, endpoint: attached.endpoint, sandboxKey: entry.sandbox)
        ask(index, .join(call)) { [unowned self] answer in
            guard case .joined(_, _, let routes) = answer else {
                // The engine calls no Leave for a Join that was refused.
                return end(index, entry, from: .delete) { done(nil) }
            }
            do { try world.addRoutes(index, routes, through: attached.mac, in: entry.sandbox) } catch {
                return end(index, entry, from: .leave) { done(nil) }
            }
            var entry = entry
            entry.isJoined = true
            engines[index]?.attached[attached.endpoint] = entry
            let name = engines[index]?.networks[attached.network]?.name ?? ""
            engines[index]?.containers[entry.container] = EngineContainer(
                id: entry.container, name: entry.name,
                attachments: [.init(network: attached.network, networkName: name, endpoint: attached.endpoint)])
            tell(index, .network(attached.network, .connect, container: entry.container))
            tell(index, .container(entry.container, .start))
            done(entry)
        }
    }

    /// `docker stop`, or the end of a container by itself.
    ///
    /// - Parameter hasPair: False if the kernel has destroyed the container's namespace, and the veth pair with it.
    func begin(stop endpoint: EndpointID, _ index: Int, hasPair: Bool = true, then done: @escaping () -> Void = {}) {
        guard let engine = engines[index], engine.isUp, let entry = engine.attached[endpoint] else { return done() }
        engines[index]?.containers[entry.container] = nil
        engines[index]?.attached[endpoint]?.hasEnded = true
        if !hasPair {
            world.removeLink(index, entry.attached.mac)
            world.endPair(index, of: endpoint)
        }
        end(index, entry, from: .leave) { [unowned self] in
            tell(index, .network(entry.attached.network, .disconnect, container: entry.container))
            tell(index, .container(entry.container, .die))
            done()
        }
    }

    private enum Step { case leave, delete }

    /// Takes an endpoint out of the sandbox, deletes it and frees its address. Errors are logged by the engine, and change nothing.
    private func end(_ index: Int, _ entry: EngineAttachment, from step: Step, then done: @escaping () -> Void) {
        let attached = entry.attached
        let delete: () -> Void = { [unowned self] in
            world.removeLink(index, attached.mac)
            world.nodes[index].kernel.missingSandboxes.insert(entry.sandbox)
            // Out of the engine's store before the driver is told.
            forget(index, attached.endpoint)
            ask(index, .deleteEndpoint(network: attached.network, endpoint: attached.endpoint)) { [unowned self] _ in
                ask(index, .releaseAddress(attached.pool, attached.address)) { _ in done() }
            }
        }
        guard case .leave = step else { return delete() }
        ask(index, .leave(network: attached.network, endpoint: attached.endpoint)) { _ in delete() }
    }

    /// Takes an endpoint out of the engine's store.
    private func forget(_ index: Int, _ endpoint: EndpointID) {
        engines[index]?.endpoints[endpoint] = nil
        engines[index]?.addresses[endpoint] = nil
        engines[index]?.attached[endpoint] = nil
    }

    /// Ends the containers that an engine finds at its start: all of them, or with live-restore those that had not come up.
    func endStale(_ index: Int) {
        guard let engine = engines[index] else { return }
        for (endpoint, entry) in engine.attached.sorted(by: { $0.key < $1.key })
        where !engine.livesOn || !entry.isJoined || entry.hasEnded {
            engines[index]?.containers[entry.container] = nil
            world.removeLink(index, entry.attached.mac)
            world.nodes[index].kernel.missingSandboxes.insert(entry.sandbox)
            if entry.isJoined { world.endPair(index, of: endpoint) }
            switch engine.staleEndpoints {
            case .deleted: end(index, entry, from: entry.isJoined ? .leave : .delete) {}
            case .released, .forgotten:
                forget(index, endpoint)
                guard case .released = engine.staleEndpoints else { continue }
                ask(index, .releaseAddress(entry.attached.pool, entry.attached.address)) { _ in }
            }
        }
    }
}
