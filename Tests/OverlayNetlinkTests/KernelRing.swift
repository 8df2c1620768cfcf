import Glibc
import OverlayDatapath
import OverlayLinux
import OverlayModel
import Testing

@testable import OverlayNetlink

/// Whether kernel tests can run. With SWIFT_OVERLAY_REQUIRE_KERNEL=1 they run anyway, and fail where they cannot.
let kernelIsUsable: Bool = {
    if let value = getenv("SWIFT_OVERLAY_REQUIRE_KERNEL"), String(cString: value) == "1" { return true }
    guard let capabilities = try? Capabilities.effective, capabilities.missing.isEmpty else {
        print("kernel tests skipped: CAP_NET_ADMIN and CAP_SYS_ADMIN are needed (run as root)")
        return false
    }
    guard run(["ip", "-V"]).status == 0 else {
        print("kernel tests skipped: iproute2 is needed to look from outside")
        return false
    }
    return true
}()

struct Output {
    var status: Int32
    var text: String
}

/// Runs a program and gives back what it wrote, errors included.
@discardableResult
func run(_ arguments: [String]) -> Output {
    let quoted = arguments.map { "'" + $0.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'" }
    guard let stream = popen(quoted.joined(separator: " ") + " 2>&1", "r") else { return Output(status: -1, text: "popen") }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
        let count = fread(&buffer, 1, buffer.count, stream)
        if count == 0 { break }
        bytes += buffer[..<count]
    }
    return Output(status: pclose(stream), text: String(decoding: bytes, as: UTF8.self))
}

/// `run` on words, which must succeed.
@discardableResult
func sh(_ words: String, sourceLocation: SourceLocation = #_sourceLocation) -> String {
    let output = run(["sh", "-c", words])
    if output.status != 0 { Issue.record("\(words): \(output.text)", sourceLocation: sourceLocation) }
    return output.text
}

/// A host of its own: a fresh namespace that stands for the host's, a directory of namespaces, and a `KernelNetlink` on both.
final class ScratchHost {
    let name: String
    /// Below /run/netns, so that `ip -n` reaches the networks as `name/swov-…`.
    let directory: String
    let kernel: KernelNetlink
    private var containers: [String] = []

    init() throws {
        name = "swt" + hexadecimal(systemRandom(count: 4))
        sh("ip netns add \(name); ip -n \(name) link set lo up")
        directory = "/run/netns/\(name).d"
        kernel = try KernelNetlink(namespaceDirectory: directory, hostNamespace: "/run/netns/\(name)")
    }

    /// A VTEP address on the loopback device: enough where no packet leaves.
    func addLoopback(_ address: String) { sh("ip -n \(name) addr add \(address) dev lo") }

    func network(_ vni: VNI) -> String { "\(name).d/\(KernelName.namespace(vni))" }

    /// Moves a container side into a namespace of its own, as the engine does, and gives it addresses.
    func startContainer(_ port: Port, _ addresses: [String], gateway: String? = nil) -> String {
        let container = "\(name)-\(containers.count)"
        containers.append(container)
        sh(
            """
            ip netns add \(container) && ip -n \(name) link set \(port.containerLink) netns \(container) \
            && ip -n \(container) link set \(port.containerLink) name eth0 && ip -n \(container) link set lo up \
            && ip -n \(container) link set eth0 up
            """)
        for address in addresses {
            sh("ip -n \(container) addr add \(address) dev eth0 \(address.contains(":") ? "nodad" : "")")
        }
        if let gateway { sh("ip -n \(container) route add default via \(gateway)") }
        return container
    }

    func ping(_ container: String, _ address: String, count: Int = 1) -> Bool {
        run(["ip", "netns", "exec", container, "ping", "-n", "-c\(count)", "-W1", address]).status == 0
    }

    deinit {
        for container in containers { run(["ip", "netns", "del", container]) }
        run([
            "sh", "-c",
            "for f in \(directory)/*; do [ -e \"$f\" ] && umount -l $f; rm -f $f; done; umount -l \(directory); rmdir \(directory)",
        ])
        run(["ip", "netns", "del", name])
    }
}

func vni(_ offset: UInt32 = 0) throws -> VNI { try #require(VNI(VNI.all.lowerBound + offset)) }
func ip(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }
func prefix(_ text: String) throws -> IPPrefix { try #require(IPPrefix(text)) }
func mac(_ text: String) throws -> MACAddress { try #require(MACAddress(text)) }

/// A network on a VTEP.
func base(_ local: String, _ offset: UInt32 = 0, port: UInt16 = 4789, mtu: UInt32 = 1450) throws -> NetworkState.Base {
    NetworkState.Base(vni: try vni(offset), local: try ip(local), port: port, mtu: mtu)
}

/// The n-th endpoint's port.
func endpoint(_ number: Int) -> (name: String, port: Port) {
    let digits = String(number, radix: 16)
    let suffix = String(repeating: "0", count: 12 - digits.count) + digits
    return (
        KernelName.portPrefix + suffix,
        Port(containerLink: KernelName.containerPrefix + suffix, mac: MACAddress(bits: 0x02AA_0000_0000 | UInt64(number)))
    )
}

extension KernelOutcome {
    /// nil when all was applied.
    var failure: KernelFailure? {
        if case .failed(_, let failure) = self { failure } else { nil }
    }
}

func expectApplied(_ outcome: KernelOutcome, sourceLocation: SourceLocation = #_sourceLocation) {
    if case .failed(let index, let failure) = outcome {
        Issue.record("operation \(index): \(failure) (errno \(failure.errno))", sourceLocation: sourceLocation)
    }
}
