import OverlayDNS
import OverlayModel
import Testing

@testable import OverlayNode

@Suite struct SandboxesTests {
    private static let path = "/run/docker/netns/1"
    private static let scope = SandboxScope(networks: [Part.network], forwards: true)

    @Test func aSandboxIsServedWhenItsScopeChanges() throws {
        var sandboxes = Sandboxes()
        var outbox = Part.outbox()
        let id = try #require(sandboxes.set(Self.scope, of: Self.path, into: &outbox))
        guard case .serve(id, Self.path, Self.scope)? = outbox.take().first else {
            Issue.record("the sandbox is not served")
            return
        }
        #expect(sandboxes.set(Self.scope, of: Self.path, into: &outbox) == nil && outbox.take().isEmpty)
        let wider = SandboxScope(networks: [Part.network, Part.other], forwards: true)
        #expect(sandboxes.set(wider, of: Self.path, into: &outbox) != nil && outbox.take().kinds == ["serve"])
        #expect(sandboxes.scopes == [Self.path: wider])
    }

    @Test func aSandboxWithoutNetworksIsServedNoMore() {
        var sandboxes = Sandboxes()
        var outbox = Part.outbox()
        #expect(sandboxes.set(nil, of: Self.path, into: &outbox) == nil && outbox.take().isEmpty)
        _ = sandboxes.set(Self.scope, of: Self.path, into: &outbox)
        sandboxes.setFailure("no socket", of: Self.path, into: &outbox)
        _ = outbox.take()
        #expect(sandboxes.set(nil, of: Self.path, into: &outbox) == nil && outbox.take().kinds == ["unserve"])
        #expect(sandboxes.scopes.isEmpty && sandboxes.failures.isEmpty)
    }

    @Test func aFailureIsLoggedOnceAndForgottenWhenQuestionsAreAnswered() {
        var sandboxes = Sandboxes()
        var outbox = Part.outbox()
        sandboxes.setFailure("no socket", of: Self.path, into: &outbox)
        #expect(sandboxes.failures.isEmpty && outbox.take().isEmpty)
        _ = sandboxes.set(Self.scope, of: Self.path, into: &outbox)
        _ = outbox.take()
        for _ in 0..<2 { sandboxes.setFailure("no socket", of: Self.path, into: &outbox) }
        #expect(sandboxes.failures == [Self.path: "no socket"])
        #expect(outbox.take().logs == ["names cannot be answered in a container"])
        sandboxes.setFailure(nil, of: Self.path, into: &outbox)
        #expect(sandboxes.failures.isEmpty && outbox.take().isEmpty)
    }
}
