import OverlayDriver
import OverlayModel

/// Rounds of calls: of the engine, of the command line, and of joining nodes.
extension Node {
    /// Opens a call, and answers it at once or begins its first round.
    mutating func open(_ id: RequestID, _ call: Call) {
        requests.add(id, call, now: outbox.now)
        if case .driver(let request) = call, let response = request.constantResponse { return finish(id, .driver(response)) }
        if case .driver(.activate) = call { return perform(id) }
        guard isReady else { return fail(id, DriverError(.unavailable, "swift-overlay is still starting")) }
        guard !requests.isFull else { return fail(id, DriverError(.unavailable, "too many calls at once")) }
        perform(id)
    }

    /// Runs a round of a call. Whatever it waited for has come.
    mutating func perform(_ id: RequestID) {
        guard let request = requests.beginRound(id) else { return }
        guard request.rounds <= Requests.rounds else {
            return fail(id, DriverError(.unavailable, "other hosts change the same network at the same time; try again"))
        }
        let step: Step
        do throws(DriverError) {
            switch request.call {
            case .driver(let call): step = try performDriver(call, id)
            case .control(let call): step = try ClusterCalls.performControl(&self, call, id)
            case .admission(let member): step = try ClusterCalls.admit(&self, member)
            }
        } catch {
            return fail(id, error)
        }
        switch step {
        case .reply(let reply): finish(id, reply)
        case .wait: break
        case .after(let effects, let reply, let undo):
            let awaited = rules.contains(.durableAnswers) ? effects : []
            guard !awaited.isEmpty else { return finish(id, reply) }
            requests.wait(id, for: .effects(awaited, reply, undo: undo))
        case .propose(let command):
            guard !isWriterAway else { return fail(id, DriverError(.unavailable, writerText(wanting: command))) }
            if !rules.contains(.appliedBlocks), let subnet = CatalogueFollower.anticipate(&self, command) {
                propose(command, for: .claim(subnet), deadline: now + Proposals.budget)
                return perform(id)
            }
            propose(command, for: .request(id), deadline: min(request.deadline, now + Proposals.budget))
        }
    }

    private mutating func performDriver(_ call: DriverRequest, _ id: RequestID) throws(DriverError) -> Step {
        switch call {
        case .activate:
            // An engine calls this when it starts. Containers may have ended without a call to us.
            KernelFollower.repairSoon(&self)
            return .reply(.driver(.activated))
        case .createNetwork(let call): return try NetworkCalls.createNetwork(&self, call)
        case .deleteNetwork(let network): return NetworkCalls.deleteNetwork(&self, network)
        case .createEndpoint(let call): return try NetworkCalls.createEndpoint(&self, call, id)
        case .deleteEndpoint(_, let endpoint): return NetworkCalls.deleteEndpoint(&self, endpoint)
        case .join(let call): return try NetworkCalls.join(&self, call)
        case .leave(_, let endpoint): return NetworkCalls.leave(&self, endpoint)
        case .requestPool(let call): return try AddressCalls.requestPool(&self, call, id)
        case .releasePool(let subnet): return AddressCalls.releasePool(&self, subnet)
        case .requestAddress(let call): return try AddressCalls.requestAddress(&self, call, id)
        case .releaseAddress(let subnet, let address): return AddressCalls.releaseAddress(&self, subnet, address)
        default: return .reply(.driver(call.constantResponse ?? .done))
        }
    }

    /// Answers a call. A contact is no answer yet: another node is asked, and the call stays open.
    mutating func finish(_ id: RequestID, _ reply: Reply) {
        if case .contact(let contact) = reply {
            requests.wait(id, for: .none)
            return outbox.append(.contact(id, contact))
        }
        guard requests.remove(id) else { return }
        switch reply {
        case .driver(let response): outbox.append(.respond(id, response))
        case .control(let response): outbox.append(.answer(id, response))
        case .admission(let answer): outbox.append(.admit(id, answer))
        case .contact: break
        }
    }

    /// Answers a call with an error.
    mutating func fail(_ id: RequestID, _ error: DriverError) {
        guard let request = requests[id] else { return }
        switch request.call {
        case .driver: finish(id, .driver(.failed(error)))
        case .control: finish(id, .control(.refused(error.message)))
        case .admission: finish(id, .admission(.refused(error.message)))
        }
    }

    /// Undoes what a call did before it failed.
    mutating func takeBack(_ undo: Undo) {
        switch undo {
        case .lease(let subnet, let address):
            guard let row = addresses.release(address, of: subnet, now: outbox.now) else { return }
            outbox.store([row])
        case .network(let id):
            guard let row = inventory.remove(id) else { return }
            outbox.store([row])
        case .endpoint(let id):
            guard let endpoint = inventory.endpoint(id), let row = inventory.remove(id) else { return }
            KernelFollower.withdraw(&self, endpoint)
            mirror.forget(id)
            sandboxes.others.set(nil, of: id)
            outbox.store([row])
        case .join(let id): NetworkCalls.undoJoin(&self, id)
        case .cluster: ClusterCalls.forgetCluster(&self)
        }
    }
}
