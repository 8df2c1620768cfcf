import ArgumentParser
import AsyncHTTPClient
import OverlayDaemon
print("swift-overlay")
