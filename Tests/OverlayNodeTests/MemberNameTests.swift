import OverlayCatalogue
import OverlayModel
import Testing

@testable import OverlayNode
@testable import OverlaySimulation

/// Names of hosts, which are whatever those say.
@Suite struct MemberNameTests {
    @Test(arguments: ["evil\u{1b}[2J", "two\nlines", "a b", "größe", "\u{7f}", ""])
    func aHostWithAnotherNameIsNotLetIn(name: String) throws {
        let world = try World(count: 2)
        world.run(for: .milliseconds(2))
        let token = try #require(world.initialise())
        world.nodes[1].core.identity.name = name
        guard case .refused(let reason) = world.control(1, .join(token: token, host: "\(World.address(0))", port: nil)) else {
            throw World.Failed("let in")
        }
        #expect(reason.contains("the host is called \(name.printable())"), "\(reason)")
        #expect(reason.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7F })
        #expect(world.nodes[0].core.catalogue.members.count == 1)
    }

    @Test(arguments: ["h", "host-1.example.org", "Host_1", String(repeating: "x", count: 253)])
    func theseAreNames(name: String) { #expect(Member.isName(name)) }

    @Test func longerOnesAreNot() { #expect(!Member.isName(String(repeating: "x", count: 254))) }
}
