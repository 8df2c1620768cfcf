import NIOCore
import OverlayDriver
import OverlayModel
import Synchronization
import Testing

@testable import OverlayDocker

@Suite(.timeLimit(.minutes(1))) struct EngineClientTests {
    private static let network = EngineNetworkID(unchecked: Sample.network)
    private static let container = ContainerID(unchecked: Sample.container)

    /// Serves pings and event streams; other requests go to `calls`.
    private static func serving(
        _ streams: Inbox<FakeEngine.Request>, _ calls: Inbox<FakeEngine.Request> = Inbox(), version: String = "1.41"
    ) -> @Sendable (FakeEngine.Request) -> Void {
        { request in
            if request.target == "/_ping" {
                request.answer(200, "OK", headers: "Api-Version: \(version)\r\n")
            } else if request.target.contains("/events?") {
                request.follow()
                streams.put(request)
            } else {
                calls.put(request)
            }
        }
    }

    @Test func `Events arrive, and again after the engine was away`() async throws {
        try await withSocket { path in
            let streams = Inbox<FakeEngine.Request>()
            let engine = try await FakeEngine(path: path, handle: Self.serving(streams))
            try await withClient(path) { _, news async throws in
                let first = try await streams.next()
                #expect(first.target.hasPrefix("/v1.41/events?since=1"))
                #expect(try await news.next() == .connected(apiVersion: "1.41"))
                // Odd pieces: an event in three, something that is no event, and two events in one.
                let bytes = Array(Sample.connect)
                first.piece(String(bytes[..<10]))
                first.piece(String(bytes[10..<50]))
                first.piece(String(bytes[50...]) + "nonsense\n" + Sample.foreign)
                first.piece(Sample.rename + Sample.connect)
                #expect(try await news.next() == .network(Self.network, .connect, container: Self.container))
                #expect(try await news.next() == .otherNetworks)
                #expect(try await news.next() == .container(Self.container, .rename))
                #expect(try await news.next() == .network(Self.network, .connect, container: Self.container))

                first.close()
                #expect(try await news.next() == .disconnected("the engine closed the connection"))
                #expect(try await news.next() == .connected(apiVersion: "1.41"))
                let second = try await streams.next()
                second.piece(Sample.rename)
                #expect(try await news.next() == .container(Self.container, .rename))

                // An orderly end is an end, too.
                second.write("0\r\n\r\n")
                #expect(try await news.next() == .disconnected("the engine closed the connection"))
                #expect(try await news.next() == .connected(apiVersion: "1.41"))
            }
            try await engine.close()
        }
    }

    @Test func `The socket may appear later`() async throws {
        try await withSocket { path in
            let streams = Inbox<FakeEngine.Request>()
            try await withClient(path) { client, news async throws in
                #expect(try await news.next() == .disconnected("cannot connect to \(path): No such file or directory"))
                #expect(
                    await client.ask(.networks) == .unavailable("cannot connect to \(path): No such file or directory"))
                let engine = try await FakeEngine(path: path, handle: Self.serving(streams))
                #expect(try await news.next() == .connected(apiVersion: "1.41"))
                try await engine.close()
            }
        }
    }

    @Test func `An event beyond the bound is left out`() async throws {
        try await withSocket { path in
            let streams = Inbox<FakeEngine.Request>()
            let engine = try await FakeEngine(path: path, handle: Self.serving(streams))
            try await withClient(path) { _, news async throws in
                #expect(try await news.next() == .connected(apiVersion: "1.41"))
                let first = try await streams.next()
                let piece = String(repeating: "x", count: 1 << 16)
                for _ in 0...40 { first.piece(piece) }
                first.piece("\n" + Sample.connect)
                #expect(try await news.next() == .network(Self.network, .connect, container: Self.container))
            }
            try await engine.close()
        }
    }

    @Test func `Calls are answered, refused and bounded`() async throws {
        try await withSocket { path in
            let engine = try await FakeEngine(
                path: path,
                handle: Self.answering { request in
                    switch (request.method, request.target) {
                    case ("GET", "/v1.51/networks"): request.answer(200, "[\(Sample.bridge20),\(Sample.network28)]")
                    case ("GET", "/v1.51/networks/\(Sample.network)"): request.answer(200, Sample.network20)
                    case ("GET", "/v1.51/containers/json"): request.answer(200, Sample.containers)
                    case ("POST", "/v1.51/networks/create") where request.body.contains(#""Name":"blue""#):
                        request.answer(201, #"{"Id":"\#(Sample.network)","Warning":""}"#)
                    case ("POST", "/v1.51/networks/create"):
                        request.answer(409, #"{"message":"network with name x already exists"}"#)
                    case ("DELETE", "/v1.51/networks/\(Sample.network)"): request.write("HTTP/1.1 204 X\r\n\r\n")
                    case ("DELETE", _): request.answer(404, #"{"message":"no such network"}"#)
                    case ("GET", "/v1.51/containers/\(Sample.container)/json"): request.close()
                    case ("GET", "/v1.51/containers/\(Sample.other)/json"):
                        request.write("HTTP/1.1 200 OK\r\nContent-Length: 40000000\r\n\r\n{")
                    default: request.write("this is no HTTP\r\n\r\n")
                    }
                })
            try await withClient(path) { client, news async throws in
                #expect(try await news.next() == .connected(apiVersion: "1.56"))
                #expect(await client.ask(.networks).networks?.map(\.name) == ["green"])
                #expect(await client.ask(.network(Self.network)).network?.endpoints.count == 2)
                #expect(await client.ask(.containers).containers?.count == 2)
                #expect(await client.ask(.createNetwork(EngineNetwork(name: "blue"))) == .created(Self.network))
                #expect(
                    await client.ask(.createNetwork(EngineNetwork(name: "x"))) == .refused("network with name x already exists"))
                #expect(await client.ask(.removeNetwork(Self.network)) == .removed)
                #expect(await client.ask(.removeNetwork(EngineNetworkID(unchecked: Sample.bridge))) == .notFound)
                #expect(await client.ask(.container(Self.container)) == .unavailable("the engine closed the connection"))
                #expect(
                    await client.ask(.container(ContainerID(unchecked: Sample.other)))
                        == .unavailable("the engine's answer is longer than 32 MiB"))
                let answer = await client.ask(.network(EngineNetworkID(unchecked: Sample.other)))
                #expect(answer.problem?.contains("does not speak HTTP") == true, "\(answer)")
            }
            try await engine.close()
        }
    }

    private static func answering(_ handle: @escaping @Sendable (FakeEngine.Request) -> Void)
        -> @Sendable (FakeEngine.Request) -> Void
    {
        let (streams, calls) = (Inbox<FakeEngine.Request>(), Inbox<FakeEngine.Request>())
        let serve = serving(streams, calls, version: "1.56")
        return { request in
            if request.target == "/_ping" || request.target.contains("/events?") { serve(request) } else { handle(request) }
        }
    }

    @Test(arguments: [
        ("too old. Minimum supported API version is 1.52, please upgrade", "Api-Version: 1.60\r\n", "1.60"),
        ("too old. Minimum supported API version is 1.52, please upgrade", "", "1.52"),
        ("too new. Maximum supported API version is 1.40", "", "1.40"),
    ])
    func `An engine that refuses the version is asked in its own`(words: String, headers: String, version: String) async throws {
        try await withSocket { path in
            let streams = Inbox<FakeEngine.Request>()
            let engine = try await FakeEngine(path: path) { request in
                // Without a version in the ping's answer the assumed one is tried.
                if request.target == "/_ping" {
                    request.answer(200, "OK", headers: "")
                } else if !request.target.hasPrefix("/v\(version)/") {
                    request.answer(400, #"{"message":"client version 1.41 is \#(words)"}"#, headers: headers)
                } else if request.target.contains("/events?") {
                    request.follow()
                    streams.put(request)
                } else {
                    request.answer(200, Sample.network20)
                }
            }
            try await withClient(path) { client, news async throws in
                #expect(try await news.next() == .connected(apiVersion: "1.41"))
                #expect(try await streams.next().target.hasPrefix("/v\(version)/events"))
                #expect(await client.ask(.network(Self.network)).network != nil)
            }
            try await engine.close()
        }
    }

    @Test func `An engine that refuses is said to`() async throws {
        try await withSocket { path in
            let engine = try await FakeEngine(path: path) { request in
                if request.target == "/_ping" {
                    request.answer(200, "OK")
                } else {
                    request.answer(400, #"{"message":"client version 1.41 is too old"}"#)
                }
            }
            try await withClient(path) { client, news async throws in
                #expect(
                    try await news.next()
                        == .disconnected("the engine does not tell its events: client version 1.41 is too old"))
                #expect(await client.ask(.networks) == .refused("client version 1.41 is too old"))
            }
            try await engine.close()
        }
    }

    @Test func `Blocked inspections of containers hold nothing else`() async throws {
        try await withSocket { path in
            let (streams, calls) = (Inbox<FakeEngine.Request>(), Inbox<FakeEngine.Request>())
            let engine = try await FakeEngine(path: path, handle: Self.serving(streams, calls))
            try await withClient(path) { client, news async throws in
                #expect(try await news.next() == .connected(apiVersion: "1.41"))
                let answers = Inbox<EngineAPIAnswer>()
                let count = EngineAPIClient.inspections + 5
                for _ in 0..<count { client.call(.container(Self.container), done: answers.put) }
                var blocked: [FakeEngine.Request] = []
                for _ in 0..<EngineAPIClient.inspections { blocked.append(try await calls.next()) }
                #expect(blocked.allSatisfy { $0.target == "/v1.41/containers/\(Sample.container)/json" })
                // The engine next sees this request, and none of those that wait.
                client.call(.network(Self.network), done: answers.put)
                let free = try await calls.next()
                #expect(free.target == "/v1.41/networks/\(Sample.network)")
                free.answer(200, Sample.network20)
                #expect(try await answers.next().network != nil)
                // The waiting requests follow as others end.
                for request in blocked { request.answer(200, Sample.container20) }
                for _ in EngineAPIClient.inspections..<count { try await calls.next().answer(200, Sample.container20) }
                for _ in 0..<count { #expect(try await answers.next().container != nil) }
            }
            try await engine.close()
        }
    }

    @Test func `Stopping ends everything, each call once`() async throws {
        try await withSocket { path in
            let (streams, calls) = (Inbox<FakeEngine.Request>(), Inbox<FakeEngine.Request>())
            let engine = try await FakeEngine(path: path, handle: Self.serving(streams, calls))
            let answers = Mutex<[EngineAPIAnswer]>([])
            let news = Inbox<EngineAPINews>()
            let client = try EngineAPIClient(endpoint: path, driver: "swift-overlay", logger: quiet, news: news.put)
            let run = Task { await client.run() }
            let stream = try await streams.next()
            let count = EngineAPIClient.inspections + EngineAPIClient.waiting
            for _ in 0..<count { client.call(.container(Self.container)) { answer in answers.withLock { $0.append(answer) } } }
            #expect(
                await client.ask(.container(Self.container))
                    == .unavailable("too many inspections of containers wait for the engine"))
            for _ in 0..<EngineAPIClient.inspections { _ = try await calls.next() }
            await client.stop()
            let ended = answers.withLock { $0 }
            #expect(ended.count == count)
            #expect(Set(ended) == [.unavailable("the client of the engine's API is stopped")])
            await run.value
            try await stream.channel.closeFuture.get()
            // No further effect, and no harm.
            #expect(await client.ask(.networks) == .unavailable("the client of the engine's API is stopped"))
            await client.run()
            await client.stop()
            try await engine.close()
        }
    }

    @Test func `A cancelled run ends, and another begins anew`() async throws {
        try await withSocket { path in
            let streams = Inbox<FakeEngine.Request>()
            let engine = try await FakeEngine(path: path, handle: Self.serving(streams))
            try await withClient(path) { client, news async throws in
                #expect(try await news.next() == .connected(apiVersion: "1.41"))
                _ = try await streams.next()
                let other = Task { await client.run() }
                #expect(try await news.next() == .connected(apiVersion: "1.41"))
                let stream = try await streams.next()
                other.cancel()
                await other.value
                try await stream.channel.closeFuture.get()
            }
            try await engine.close()
        }
    }
}
