import NIOCore
import NIOPosix
import OverlayCatalogue
import OverlayCrypto
import OverlayGossip
import OverlayModel
import OverlayNode
import Testing

@testable import OverlayDaemon

/// Joins by the first of several ports at which a node answers.
@Suite struct JoinAttemptsTests {
    private static let loop = MultiThreadedEventLoopGroup.singleton.next()
    private let key = NodeKey()

    private func contact(_ ports: [UInt16]) -> JoinContact {
        let member = Member(
            id: key.id, name: "newcomer", address: IPAddress(v4: 127, 0, 0, 1), port: 1, vtep: IPAddress(v4: 127, 0, 0, 1),
            publicKey: key.publicBytes, agreementKey: key.agreementBytes, epoch: 1)
        return JoinContact(
            host: "127.0.0.1", ports: ports, pin: [UInt8](repeating: 1, count: 20), secret: [UInt8](repeating: 2, count: 16),
            member: member)
    }

    /// Answer to what comes first, and the end.
    private final class Answerer: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private let bytes: [UInt8]

        init(_ bytes: [UInt8]) { self.bytes = bytes }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let channel = context.channel
            channel.writeAndFlush(ByteBuffer(bytes: bytes)).whenComplete { _ in channel.close(promise: nil) }
        }
    }

    /// A program that answers whoever sends something with these bytes, and closes.
    private func program(_ bytes: [UInt8]) async throws -> any Channel {
        try await ServerBootstrap(group: Self.loop)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(Answerer(bytes)) }
            }
            .bind(host: "127.0.0.1", port: 0).get()
    }

    /// Frame of a node in no cluster, which refuses.
    private var refusal: [UInt8] {
        let frame = JoinResponder.failure(.noCluster)
        return UInt32(frame.count).wireBytes + frame
    }

    private func port(_ channel: any Channel) throws -> UInt16 { UInt16(try #require(channel.localAddress?.port)) }

    /// Port at which nobody listens.
    private func closedPort() async throws -> UInt16 {
        let channel = try await program([])
        defer { channel.close(promise: nil) }
        return try port(channel)
    }

    private func ask(_ ports: [UInt16]) async throws -> String {
        let answer = try await JoinAttempts.ask(contact(ports), as: key, on: Self.loop).get()
        guard case .refused(let reason) = answer else { throw JoinError.malformed }
        return reason
    }

    @Test func `The next port is tried where nobody, or another program, answers`() async throws {
        let node = try await program(refusal)
        let stranger = try await program(Array("SSH-2.0".utf8))
        let silent = try await program([])
        let closed = try await closedPort()
        for first in [closed, try port(stranger), try port(silent)] {
            let reason = try await ask([first, try port(node)])
            #expect(reason == "127.0.0.1:\(try port(node)) refused: \(JoinFailure.noCluster.text)")
        }
        for channel in [node, stranger, silent] { try await channel.close() }
    }

    @Test func `What a node answers is not asked of the next port`() async throws {
        let node = try await program(refusal)
        let closed = try await closedPort()
        #expect(try await ask([try port(node), closed]).hasPrefix("127.0.0.1:\(try port(node)) refused: "))
        try await node.close()
    }

    @Test func `Where no node answers the reason is that of the first port`() async throws {
        let closed = try await closedPort()
        let stranger = try await program(Array("SSH-2.0".utf8))
        #expect(try await ask([closed, try port(stranger)]).hasPrefix("cannot reach 127.0.0.1:\(closed) over TCP: "))
        #expect(try await ask([closed]).hasPrefix("cannot reach 127.0.0.1:\(closed) over TCP: "))
        try await stranger.close()
    }
}
