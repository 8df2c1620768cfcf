import OverlayDNS
import OverlayModel

/// Sandboxes whose questions for names are answered here, and what each of them sees.
struct Sandboxes: Sendable {
    /// Scopes by path of the network namespace, as the shell has them.
    private(set) var scopes: [String: SandboxScope] = [:]
    /// Reasons why questions of a sandbox are not answered here.
    private(set) var failures: [String: String] = [:]
    /// Networks of other drivers that the containers are on, too.
    var others = OtherNetworks()

    /// Number of containers.
    var count: Int { scopes.values.count { $0.gateway == nil } }

    /// Sets what a sandbox sees.
    ///
    /// - Parameter scope: nil where it is on no network any more.
    /// - Returns: The effect that ends when the questions are answered; nil where nothing changes.
    mutating func set(_ scope: SandboxScope?, of path: String, into outbox: inout Outbox) -> EffectID? {
        guard let scope else {
            failures[path] = nil
            if scopes.removeValue(forKey: path) != nil { outbox.append(.unserve(path)) }
            return nil
        }
        guard scopes[path] != scope else { return nil }
        scopes[path] = scope
        let id = outbox.newEffect()
        outbox.append(.serve(id, path, scope))
        return id
    }

    /// The shell answers the questions of a sandbox, or says why it does not.
    mutating func setFailure(_ failure: String?, of path: String, into outbox: inout Outbox) {
        guard scopes[path] != nil, failures[path] != failure else { return }
        failures[path] = failure
        guard let failure else { return }
        outbox.log(.error, "names cannot be answered in a container", [LogKey.sandbox: path, LogKey.reason: failure])
    }
}
